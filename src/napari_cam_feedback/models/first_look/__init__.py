"""A first look at a model with its data, before it is trusted."""
