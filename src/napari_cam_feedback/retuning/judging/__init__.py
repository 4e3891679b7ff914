"""What a retune is judged by: checks on the way, relevance of the masks, and the verdict."""
