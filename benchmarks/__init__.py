"""Measurements: what retuning reaches and what things cost. Run ``python -m benchmarks``."""
