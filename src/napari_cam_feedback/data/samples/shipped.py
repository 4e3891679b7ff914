"""Where the files that the package ships for its samples are."""

from __future__ import annotations

from pathlib import Path


def sample_data_dir() -> Path:
    """Return the folder of the files shipped with the package (a checkout has them at its root)."""
    package = Path(__file__).resolve().parents[2]
    shipped = package / "sample_data"
    return shipped if shipped.is_dir() else package.parents[1] / "sample_data"
