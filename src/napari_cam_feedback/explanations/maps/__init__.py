"""Attribution maps: the methods, one image, several classes, whole splits, and their files."""
