"""The steps of a retune: the trainer, its learning rate and pace, and what keeps it from collapsing."""
