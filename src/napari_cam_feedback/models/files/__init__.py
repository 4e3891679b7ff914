"""Models in files: loading, saving and exporting, and what is said where something does not fit."""
