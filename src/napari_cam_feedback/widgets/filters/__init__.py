"""The Filters dock: the filters of an image and of all images."""
