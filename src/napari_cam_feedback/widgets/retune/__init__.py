"""The Retune dock: settings, the run, and its result."""
