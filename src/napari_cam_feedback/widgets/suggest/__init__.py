"""Which images to paint next, and proposed masks."""
