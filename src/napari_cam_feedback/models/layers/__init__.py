"""The layers of a network: which there are, which is explained, and what they put out."""
