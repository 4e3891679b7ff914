"""The Suggest dock: which images to paint next, and proposed masks."""
