"""Masks that are proposed, to be accepted or rejected."""
