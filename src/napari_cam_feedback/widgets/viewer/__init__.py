"""The viewer: its layers, the mask that is painted, shortcuts and docks."""
