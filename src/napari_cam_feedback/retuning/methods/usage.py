"""What a run's settings ask of the methods that it names."""

from __future__ import annotations

from napari_cam_feedback.retuning.config import RetuneConfig


def needs_inpainting(config: RetuneConfig) -> bool:
    """Tell whether the painted images must be inpainted before the first step."""
    from napari_cam_feedback.retuning.methods import METHODS, method_parts

    return config.fill == "inpaint" or any(METHODS[part].needs_inpainting for part in method_parts(config.method))
