"""The expert's masks on disk, and choosing among them."""
