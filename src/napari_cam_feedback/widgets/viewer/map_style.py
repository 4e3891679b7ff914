"""How maps are drawn: their colours, their opacity, and a contour; as it is remembered with a project."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_cam_feedback.widgets.viewer.preferences import preferences

#: The colour maps offered first, and what they are called; ``CAM`` is the default.
FIRST_COLORMAPS = {
    "CAM": "rainbow (turbo)",
    "inferno": "inferno",
    "viridis": "viridis",
    "red": "red",
    "green": "green",
    "cyan": "cyan",
}
# A map fades in over this share of its range, so that the image stays visible where there is no evidence.
_FADE_IN = 0.35


@dataclass(frozen=True)
class MapLook:
    """How maps are drawn over the image.

    Attributes
    ----------
    colormap : str
        ``CAM``, or a name of napari's.
    opacity : float
        0 to 1.
    contour : int or None
        The share of a map's maximum, in percent, around which a line is drawn; None for no line.
    """

    colormap: str = "CAM"
    opacity: float = 0.5
    contour: int | None = None

    @classmethod
    def preferred(cls) -> MapLook:
        """Return what the user has set for projects in which nothing else was chosen."""
        set_now = preferences()
        return cls(set_now.heatmap_colours, set_now.heatmap_opacity)

    @classmethod
    def from_remembered(cls, value: Any) -> MapLook:
        """Return what `to_remember` gave, and what the user prefers for whatever is not as it should be."""
        look, preferred = value if isinstance(value, dict) else {}, cls.preferred()
        colormap, opacity, contour = look.get("colormap"), look.get("opacity"), look.get("contour")
        return cls(
            colormap if isinstance(colormap, str) and colormap in all_colormaps() else preferred.colormap,
            float(opacity) if isinstance(opacity, int | float) and 0 <= opacity <= 1 else preferred.opacity,
            contour if isinstance(contour, int) and 1 <= contour <= 99 else None,
        )

    def to_remember(self) -> dict[str, Any]:
        """Return plain values for `Session.remember`."""
        return {"colormap": self.colormap, "opacity": round(self.opacity, 3), "contour": self.contour}

    def colours(self) -> Any:
        """Return the colour map, which fades in from transparent."""
        from napari.utils.colormaps import Colormap, ensure_colormap

        positions = np.linspace(0, 1, 64)
        if self.colormap == "CAM":
            # Not to its very end, which is so dark a red that the strongest evidence would look like none.
            colours = np.array(ensure_colormap("turbo").map(0.93 * positions))
        else:
            colours = np.array(ensure_colormap(self.colormap).map(positions))
        colours[:, 3] = np.clip(positions / _FADE_IN, 0, 1)
        return Colormap(colours, name=layer_colormap_name(self.colormap))


def layer_colormap_name(name: str) -> str:
    """Return what a layer calls the colour map of that name once it fades in."""
    return "CAM" if name == "CAM" else f"CAM {name}"


def all_colormaps() -> dict[str, str]:
    """Return the names of all colour maps and what they are called, a few good ones first, the others by name."""
    from napari.utils.colormaps import AVAILABLE_COLORMAPS

    others = sorted(set(AVAILABLE_COLORMAPS) - set(FIRST_COLORMAPS), key=str.lower)
    # Those of our own layers are not for choosing.
    others = [name for name in others if not name.startswith("CAM") and name not in ("filter", "after minus before")]
    return FIRST_COLORMAPS | {name: name for name in others}
