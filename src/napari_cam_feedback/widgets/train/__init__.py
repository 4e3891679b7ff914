"""The Train dock: what is trained, how it goes on, and what it came to."""
