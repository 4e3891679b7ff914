"""The images of a retune: those painted, what is put in place of what is painted, and what each step draws."""
