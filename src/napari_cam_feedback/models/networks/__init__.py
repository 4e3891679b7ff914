"""Networks: by name, by a file of the user's, or saved as a program; and the preprocessing that they take."""
