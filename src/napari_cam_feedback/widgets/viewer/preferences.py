"""What the user has set of the plugin in napari's Preferences; the page is declared in ``napari.yaml``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_cam_feedback.widgets.viewer.docks import PLUGIN

#: The colours that a mask may have, by name; each is told from gray images, from the heatmap and from proposals (yellow).
MASK_COLOURS = {
    "magenta": (1.0, 0.0, 1.0, 1.0),
    "orange": (1.0, 0.5, 0.0, 1.0),
    "cyan": (0.0, 0.9, 1.0, 1.0),
    "white": (1.0, 1.0, 1.0, 1.0),
}


@dataclass(frozen=True)
class Preferences:
    """The page *CAM feedback* of napari's Preferences; what is written here are the manifest's defaults.

    Attributes
    ----------
    device : str
        Where a model runs that is opened: auto, cpu, cuda or mps.
    projects_folder : str
        Where new projects are put, with their masks; empty for ``~/napari-cam-feedback``.
    cache_megabytes : int
        How much of heatmaps and activations is kept in memory.
    heatmap_colours : str
        Of projects in which no others were chosen.
    heatmap_opacity : float
        Of the same.
    mask_colour : str
        One of `MASK_COLOURS`.
    suggested_images, proposed_images : int
        How many images are suggested, and how many are looked at for proposals, unless another number is given.
    """

    device: str = "auto"
    projects_folder: str = ""
    cache_megabytes: int = 512
    heatmap_colours: str = "CAM"
    heatmap_opacity: float = 0.5
    mask_colour: str = "magenta"
    suggested_images: int = 20
    proposed_images: int = 200

    @property
    def home(self) -> Path:
        """The folder for new projects."""
        text = self.projects_folder.strip()
        return Path(text).expanduser() if text else Path.home() / PLUGIN

    @property
    def cache_bytes(self) -> int:
        """The cache's size."""
        return self.cache_megabytes << 20

    @property
    def mask_rgba(self) -> tuple[float, float, float, float]:
        """The mask's colour."""
        return MASK_COLOURS.get(self.mask_colour, MASK_COLOURS["magenta"])


#: Where each setting stands: its category in the manifest.
CATEGORIES = {
    "opening": ("device", "projects_folder", "cache_megabytes"),
    "colours": ("heatmap_colours", "heatmap_opacity", "mask_colour"),
    "painting": ("suggested_images", "proposed_images"),
}


def preferences() -> Preferences:
    """Return what is set now; the defaults where napari does not know the plugin, as in a script that only imports it."""
    from napari.settings import get_plugin_settings

    try:
        found = get_plugin_settings(PLUGIN)
    except KeyError:
        return Preferences()
    return Preferences(
        **{name: getattr(getattr(found, category), name) for category, names in CATEGORIES.items() for name in names}
    )
