"""Painting by a click: the tools, their view, and the same place in other images."""
