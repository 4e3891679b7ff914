"""What the method ``auto`` comes to, by what is painted and by what the training images show: said here alone."""

from __future__ import annotations

from napari_cam_feedback.retuning.config import RetuneConfig

#: The methods where marks are painted; where they are and the training images show few of the network's classes, since
#: actdiff's penalty then costs what it knows of the others; where all that surrounds an object is painted.
AUTO = ("actdiff", "transplant")
AUTO_FEW_CLASSES = ("transplant",)
AUTO_SURROUNDINGS = ("actdiff", "counterexample")
#: Where nothing is painted, since a style lies over whole images.
AUTO_STYLE = ("transplant",)


def auto_methods(*, surroundings: bool, few_classes: bool, style: bool = False) -> tuple[str, ...]:
    """Return the methods of ``auto``.

    Parameters
    ----------
    surroundings : bool
        All that surrounds an object is painted, and no marks.
    few_classes : bool
        The training images show at most half of the network's classes.
    style : bool
        Nothing is painted; a style is to be taken out.
    """
    if style:
        return AUTO_STYLE
    if surroundings:
        return AUTO_SURROUNDINGS
    return AUTO_FEW_CLASSES if few_classes else AUTO


def choose_refill(config: RetuneConfig, *, surroundings: bool) -> str:
    """Return what painted places are refilled with: as the settings say, but what surrounds an object by ``auto``.

    That is no small hole that could be filled from around.
    """
    return "donor" if config.method == "auto" and surroundings else config.fill


def distils(config: RetuneConfig, *, surroundings: bool, unseen_classes: bool, relearns: bool) -> bool:
    """Tell whether the given network's own answers are targets: as the settings say, else as ``auto`` chooses.

    Parameters
    ----------
    config : RetuneConfig
        The settings.
    surroundings : bool
        All that surrounds an object is painted.
    unseen_classes : bool
        The training images lack some of the network's classes.
    relearns : bool
        The network must find features that it does not have, which its own answers do not show.
    """
    if config.distillation is not None:
        return config.distillation
    return config.method == "auto" and not surroundings and (unseen_classes or not relearns)
