"""Names of 0.1.0 that were given up: they still lead to what they named, say so, and go with the next release.

The packages `explain`, `evaluate`, `retune` and `project` have become `explanations`, `evaluation`, `retuning` and
`projects`, so that no package is called like a function; and training has left `models`.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_US = "napari_cam_feedback"
_PACKAGES = {"explain": "explanations", "evaluate": "evaluation", "retune": "retuning", "project": "projects"}
#: Modules that are not found by their package's new name alone.
_MODULES = {
    "evaluate.biharmonic": "evaluation.perturbations.biharmonic",
    "evaluate.certainty": "evaluation.intervals",
    "evaluate.evaluation": "evaluation.results",
    "evaluate.fills": "evaluation.perturbations.fills",
    "evaluate.inpainting": "evaluation.perturbations.inpainting",
    "evaluate.kept": "evaluation.predictions",
    "evaluate.latex": "evaluation.report.latex",
    "evaluate.painted_history": "evaluation.report.painted_history",
    "evaluate.pictures": "evaluation.report.pictures",
    "evaluate.places": "evaluation.perturbations.shifts",
    "evaluate.provenance": "evaluation.report.provenance",
    "evaluate.report": "evaluation.report.write",
    "evaluate.report_figures": "evaluation.report.pictures",
    "evaluate.report_page": "evaluation.report.page",
    "evaluate.report_tables": "evaluation.report.write",
    "evaluate.surroundings": "evaluation.perturbations.backgrounds",
    "evaluate.version_report": "evaluation.report.versions",
    "explain.accuracy_curve": "explanations.filters.accuracy_curve",
    "explain.cav": "explanations.tcav.cav",
    "explain.class_maps": "explanations.maps.class_maps",
    "explain.concept_activations": "explanations.tcav.activations",
    "explain.concept_config": "explanations.tcav.config",
    "explain.concept_plots": "explanations.tcav.report",
    "explain.concept_report": "explanations.tcav.report",
    "explain.concept_result": "explanations.tcav.result",
    "explain.concept_sets": "explanations.tcav.sets",
    "explain.concept_space": "explanations.tcav.space",
    "explain.concept_statistics": "explanations.tcav.statistics",
    "explain.concepts": "explanations.tcav.tcav",
    "explain.contact_sheet": "explanations.filters.gallery",
    "explain.embedding": "explanations.filters.embedding",
    "explain.feature_store": "explanations.filters.store",
    "explain.features": "explanations.filters.features",
    "explain.filter_changes": "explanations.filters.changes",
    "explain.filter_marks": "explanations.filters.marks",
    "explain.filter_plots": "explanations.filters.plots",
    "explain.filter_stats": "explanations.filters.statistics",
    "explain.filter_survey": "explanations.filters.survey",
    "explain.filter_tables": "explanations.filters.survey",
    "explain.gallery": "explanations.filters.gallery",
    "explain.gradient_methods": "explanations.maps.gradients",
    "explain.inspect": "explanations.maps.explanation",
    "explain.map_files": "explanations.maps.files",
    "explain.map_pictures": "explanations.maps.pictures",
    "explain.map_writing": "explanations.maps.writing",
    "explain.maps": "explanations.maps.base",
    "explain.methods": "explanations.maps.registry",
    "explain.perturbation_methods": "explanations.maps.perturbations",
    "explain.ranking": "explanations.filters.ranking",
    "explain.shared_maps": "explanations.maps.writing",
    "explain.split_maps": "explanations.maps.split",
    "explain.views": "explanations.display",
    "retune.augmentation": "retuning.images.sampling",
    "retune.checks": "retuning.judging.metrics",
    "retune.choosing": "retuning.checkpoints",
    "retune.front": "retuning.judging.pareto",
    "retune.head": "retuning.head_refit",
    "retune.marks": "retuning.judging.relevance",
    "retune.painted": "retuning.images.masked_set",
    "retune.replacements": "retuning.images.refill",
    "retune.snapshot": "retuning.run_state",
    "retune.sampling": "retuning.images.sampling",
    "retune.trainer": "retuning.optimisation.trainer",
    "retune.verdict": "retuning.judging.verdict",
}
#: What other packages offer now.
_NAMES = {
    "models": {
        "training": ("TrainConfig", "TrainRecipe", "TrainStep", "Training", "Transfer", "make_recipe", "open_training",
                     "read_recipe", "train_classifier", "transfer"),
    },
}  # fmt: skip


def install() -> None:
    """Let the old packages and their modules be imported.

    Asked first: a folder of bytecode that 0.1.0 left behind would else be found, as an empty package.
    """
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def moved_name(package: str, name: str) -> Any:
    """Return what a package offered in 0.1.0 under a name that another one offers now; for its ``__getattr__``.

    Raises
    ------
    AttributeError
        It offered nothing of that name.
    """
    for home, names in _NAMES[package.removeprefix(f"{_US}.")].items():
        if name in names:
            # Whoever asked stands behind the package's __getattr__.
            _warn(f"{package}.{name}", f"{_US}.{home}.{name}", 4)
            return getattr(import_module(f"{_US}.{home}"), name)
    raise AttributeError(f"module {package!r} has no attribute {name!r}")


def _new_name(old: str) -> str | None:
    """Return the new name of a module, by both names in full; None where it never had another."""
    us, _, rest = old.partition(".")
    package, _, inner = rest.partition(".")
    if us != _US or package not in _PACKAGES:
        return None
    new = _MODULES.get(rest) or ".".join(filter(None, (_PACKAGES[package], inner)))
    return f"{_US}.{new}"


def _warn(old: str, new: str, level: int) -> None:
    warnings.warn(f"{old} is {new} now; the old name goes with the next release.", DeprecationWarning, stacklevel=level)


class _OldPackage(ModuleType):
    """A package under its old name. It is bound where the public function of that name was, so it is called like it."""

    def __init__(self, name: str, new: ModuleType) -> None:
        super().__init__(name, new.__doc__)
        vars(self).update(__path__=[], _new=new)

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_new"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        # Importing a file binds it here, also where the package offers a function of that name, which stays.
        if not (isinstance(value, ModuleType) and callable(getattr(self, name, None))):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return dir(vars(self)["_new"])

    def __call__(self, *args: Any, **options: Any) -> Any:
        return getattr(self, self.__name__.rpartition(".")[2])(*args, **options)


class _Finder(MetaPathFinder, Loader):
    """Finds modules by their old names; they are the very same modules, so that what is set in one is set in both."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        new = _new_name(fullname)
        try:
            return None if new is None or find_spec(new) is None else ModuleSpec(fullname, self)
        except ModuleNotFoundError:  # in what is a module, and no package
            return None

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        old = module.__name__
        name = _new_name(old)
        assert name is not None
        new = import_module(name)
        _warn(old, name, 3)
        sys.modules[old] = _OldPackage(old, new) if hasattr(new, "__path__") else new
