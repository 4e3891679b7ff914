"""Painting by a click: what of an image is painted when one of its places is chosen."""
