"""``python -m napari_cam_feedback.cli``."""

from __future__ import annotations

import sys

from napari_cam_feedback.cli import main

sys.exit(main())
