"""The page *Retune*: settings, the run, and its result."""
