"""The Compare dock: versions of a project beside each other."""
