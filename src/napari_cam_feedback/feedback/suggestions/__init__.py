"""Which images to paint next, and why."""
