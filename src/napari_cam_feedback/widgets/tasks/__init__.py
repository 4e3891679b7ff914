"""Work in the background: workers, their phases and their progress."""
