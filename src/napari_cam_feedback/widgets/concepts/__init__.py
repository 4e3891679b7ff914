"""The Concepts dock: choosing concepts, testing them, and the result."""
