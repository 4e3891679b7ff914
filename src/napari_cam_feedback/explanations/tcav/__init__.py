"""Testing with concept activation vectors: concepts, their vectors, the tests, and the report."""
