"""The commands, a file each; `napari_cam_feedback.cli` puts them together."""
