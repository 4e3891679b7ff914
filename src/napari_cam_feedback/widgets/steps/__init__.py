"""The leading dock: the steps of the work, the next sensible thing, and the pages, which it alone knows."""
