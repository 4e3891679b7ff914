"""What is done to an image in measuring: refilled, inpainted, shifted, put before another background."""
