"""A finished retune as one file, so that it can wait for a decision: plain values and tensors, and nothing is unpickled."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_cam_feedback.errors import StorageError, describe
from napari_cam_feedback.files import atomic_path
from napari_cam_feedback.models.classifier import Classifier
from napari_cam_feedback.models.files.statedict import load_plain
from napari_cam_feedback.retuning.config import make_config
from napari_cam_feedback.retuning.images.style import Style
from napari_cam_feedback.retuning.judging.pareto import Checkpoint, State, copy_of
from napari_cam_feedback.retuning.judging.style_verdict import StyleVerdict
from napari_cam_feedback.retuning.judging.verdict import Verdict
from napari_cam_feedback.retuning.results import RetuneResult
from napari_cam_feedback.retuning.run_state import check_from_values, run_state_from_values, run_state_to_values
from napari_cam_feedback.torch_loader import torch

SCHEMA_VERSION = 1

# Fields of a result that are plain values already.
_PLAIN = (
    "resolved",
    "status",
    "selected_iteration",
    "selected_share",
    "painted_keys",
    "held_out_keys",
    "history",
    "painted_history",
    "skipped",
    "troubles",
)


@dataclass(frozen=True)
class ResultFile:
    """What a file of a finished retune holds, before there is a network to put the weights into.

    Attributes
    ----------
    path : Path
        The file.
    about : dict
        Plain values that `save_result` was given with the result.
    values : dict
        Everything of the result.
    """

    path: Path
    about: dict[str, Any]
    values: dict[str, Any]

    def result(self, like: Classifier) -> RetuneResult:
        """Return the result, without masks, which are the caller's to keep.

        Parameters
        ----------
        like : Classifier
            Any classifier of the same architecture, classes and preprocessing, such as another version; stays as it is.

        Raises
        ------
        StorageError
            It is of another architecture, or the file is broken.
        """
        values = self.values
        try:
            given = _with(like, values["layer"], values["given"], values["given_info"])
            if given.fingerprint() != values["given_fingerprint"]:
                raise ValueError("another model")
            run_state = values["run_state"]
            # Files of before there were styles name none.
            tensors = values.get("style")
            style = None if tensors is None else Style.from_tensors(tensors)
            return RetuneResult(
                classifier=_with(given, values["layer"], values["state"], values["info"]),
                given=given,
                config=make_config(values["config"]),
                verdict=(StyleVerdict if values.get("verdict_of_style") else Verdict)(**values["verdict"]),
                before=check_from_values(values["before"]),
                after=check_from_values(values["after"]),
                checkpoints=tuple(
                    Checkpoint(check_from_values(check), {name: each.to(given.device) for name, each in state.items()})
                    for check, state in values["checkpoints"]
                ),
                path=tuple(map(check_from_values, values["path"])),
                run_state=None if run_state is None else run_state_from_values(run_state),
                style=style,
                **{name: values[name] for name in _PLAIN},
            )
        except MemoryError:
            raise
        except Exception as error:  # values that do not fit the model fail in many ways
            raise StorageError(
                f"The retune in {self.path} is of another model than this project's, or its file is broken "
                f"({describe(error)}); remove the file, and retune again."
            ) from error


def save_result(result: RetuneResult, path: str | Path, about: dict[str, Any]) -> None:
    """Write a finished retune, atomically.

    Parameters
    ----------
    result : RetuneResult
        The run.
    path : path
        A file; replaced where it is there.
    about : dict
        Anything else to be known of it: plain values and tensors.

    Raises
    ------
    StorageError
        It cannot be written.
    """
    given, classifier = result.given, result.classifier
    values = {
        "schema_version": SCHEMA_VERSION,
        "about": about,
        "layer": (given.target_layer, given.grid),
        "given": copy_of(given.module.state_dict()),
        "given_info": given.info,
        "given_fingerprint": given.fingerprint(),
        "state": copy_of(classifier.module.state_dict()),
        "info": classifier.info,
        "config": result.config.model_dump(mode="json"),
        "verdict": {"name": result.verdict.name, "reason": result.verdict.reason},
        "before": asdict(result.before),
        "after": asdict(result.after),
        "checkpoints": [(asdict(each.check), each.state) for each in result.checkpoints],
        "path": [asdict(check) for check in result.path],
        "verdict_of_style": isinstance(result.verdict, StyleVerdict),
        "style": None if result.style is None else copy_of(result.style.to_tensors()),
        "run_state": None if result.run_state is None else run_state_to_values(result.run_state),
        **{name: getattr(result, name) for name in _PLAIN},
    }
    with atomic_path(Path(path)) as temporary:
        torch.save(_plain(values), temporary)


def read_result_file(path: str | Path) -> ResultFile:
    """Read what `save_result` wrote.

    Raises
    ------
    StorageError
        It is not there, cannot be read, or is of another version of the program.
    """
    path = Path(path)
    try:
        values = load_plain(path)
        if values.pop("schema_version") != SCHEMA_VERSION:
            raise ValueError("another version of the program")
        return ResultFile(path, values.pop("about"), values)
    except (OSError, MemoryError) as error:
        # The file may be whole; nobody is told to remove it.
        raise StorageError(f"Could not read {path}: {describe(error)}") from error
    except Exception as error:  # what torch raises for a broken file has no end
        raise StorageError(
            f"The retune in {path} cannot be read ({describe(error)}); remove the file, and retune again."
        ) from error


def _with(like: Classifier, layer: tuple[str, Any], state: State, info: dict[str, Any]) -> Classifier:
    name, grid = layer
    chosen = like.copy()
    if (chosen.target_layer, chosen.grid) != (name, grid):
        chosen = chosen.with_layer(name, grid=grid)
    chosen.module.load_state_dict(state)
    # One found before belongs to other weights.
    chosen.__dict__.pop("head", None)
    chosen.info = dict(info)
    return chosen


def _plain(value: Any) -> Any:
    """Turn numbers of numpy into Python's, which are read without unpickling."""
    if isinstance(value, dict):
        return {_plain(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value
