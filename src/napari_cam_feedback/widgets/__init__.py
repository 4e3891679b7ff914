"""Dock widgets of the napari plugin: views and workers only; importing them loads no torch."""
