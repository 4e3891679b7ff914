"""What a retune reaches, of all methods and with few or sloppy masks, and what it costs.

Six tables: `goals` (``python -m benchmarks retuning``), `real_networks` (``networks``), `verdicts`, `methods_table`
(``methods``), `masks` and `cost`. Each prints each run, or mean and range over seeds, and writes
``benchmarks/results/*.csv``. A seed is that of the images, the weights, the choice of masks and the retune. The test split
is looked at to report only; all settings were chosen on other seeds (101 and up) or on held-out training images.
"""
