"""The Session dock: opening a model, a dataset or a project, and what is said of it."""
