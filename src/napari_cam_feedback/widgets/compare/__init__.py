"""Versions of a project beside each other."""
