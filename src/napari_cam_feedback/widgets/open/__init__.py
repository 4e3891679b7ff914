"""The page *Open*: opening a model, a dataset or a project, and what is said of it."""
