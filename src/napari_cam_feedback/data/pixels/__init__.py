"""Image and mask files: reading their pixels, page by page."""
