"""The Browse dock: the items, one of them, and its maps."""
