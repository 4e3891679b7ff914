"""The page *Look*: the items, one of them, and its maps."""
