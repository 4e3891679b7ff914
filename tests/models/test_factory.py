"""A network made by the user's own Python file: asked first, called with what it takes; a sentence for every failure."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from napari_cam_feedback.errors import ConsentNeeded, ModelError
from napari_cam_feedback.models.networks.factory import build_from_factory, parse_factory
from napari_cam_feedback.torch_loader import torch

nn = torch.nn
HEAD = "from torch import nn\n"


def written(tmp_path: Path, text: str, name: str = "mine.py") -> Path:
    path = tmp_path / name
    path.write_text(HEAD + text)
    return path


def build(path: Path, function: str = "make", *, trust: bool = True) -> nn.Module:
    return build_from_factory(path, function, num_classes=4, channels=1, trust=trust)


@pytest.mark.parametrize(
    ("arch", "file", "function"),
    [
        ("mine.py:make", "mine.py", "make"),
        ("/home/me/nets/mine.py:Net", "/home/me/nets/mine.py", "Net"),
        (r"C:\nets\mine.py:make", r"C:\nets\mine.py", "make"),
        ("C:/my nets/mine.py:make", "C:/my nets/mine.py", "make"),
    ],
)
def test_file_and_function_are_told_apart_at_the_last_colon(arch, file, function):
    assert parse_factory(arch) == (Path(file), function)


@pytest.mark.parametrize(
    "arch", ["small-gap", "torchvision:resnet18", "timm:vit", "export:/a/b.pt2", r"export:C:\a\b.pt2", ""]
)
def test_other_architectures_are_no_factories(arch):
    assert parse_factory(arch) is None


@pytest.mark.parametrize("arch", ["nets/mine.py", "nets/mine.py:", "nets/mine.py:a-b", r"C:\nets\mine.py"])
def test_a_file_without_a_function_gives_a_sentence(arch):
    with pytest.raises(ModelError, match=rf"^{re.escape(arch)} names no function; .*mine\.py:FUNCTION\.$"):
        parse_factory(arch)


def test_without_consent_nothing_of_the_file_runs(tmp_path):
    mark = tmp_path / "ran"
    path = written(tmp_path, f"open({str(mark)!r}, 'w').close()\ndef make(): return nn.Linear(1, 1)\n")
    with pytest.raises(
        ConsentNeeded,
        match=r"^mine\.py makes the network by running its code, which may do whatever you may do; agree to it if you trust",
    ) as caught:
        build(path, trust=False)
    assert not mark.exists()
    assert caught.value.kind == "trust"
    assert str(path) in caught.value.question
    assert "runs that file's code" in caught.value.question
    assert caught.value.question.endswith("want to run it?")
    build(path)
    assert mark.exists()


@pytest.mark.parametrize(
    ("text", "inputs", "outputs"),
    [
        ("def make(num_classes, channels): return nn.Linear(channels, num_classes)", 1, 4),
        ("def make(num_classes, in_channels=3): return nn.Linear(in_channels, num_classes)", 1, 4),
        ("def make(*, in_chans, num_classes=9): return nn.Linear(in_chans, num_classes)", 1, 4),
        ("def make(): return nn.Linear(7, 8)", 7, 8),
        ("def make(num_classes, width=5, **other): return nn.Linear(width, num_classes)", 5, 4),
        ("make = nn.Linear(2, 3)", 2, 3),
        ("import functools\nmake = functools.partial(nn.Linear, in_features=6, out_features=2)", 6, 2),
    ],
)
def test_a_function_is_given_what_it_takes_of_classes_and_channels(tmp_path, text, inputs, outputs):
    module = build(written(tmp_path, text))
    assert (module.in_features, module.out_features) == (inputs, outputs)


def test_a_class_is_called_as_a_function_is(tmp_path):
    text = """
import dataclasses

@dataclasses.dataclass
class Config:
    width: int = 3

class Net(nn.Module):
    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.head = nn.Linear(in_channels * Config().width, num_classes)
"""
    module = build(written(tmp_path, text), "Net")
    assert module.head.weight.shape == (4, 3)


def test_a_file_may_import_its_neighbours_and_an_edit_of_either_is_seen(tmp_path):
    written(tmp_path, "WIDTH = 3\n", "my_blocks.py")
    path = written(
        tmp_path, "import my_blocks\ndef make():\n    import my_blocks\n    return nn.Linear(my_blocks.WIDTH, 2)\n"
    )
    before = list(sys.path)
    assert build(path).in_features == 3
    assert sys.path == before
    assert "my_blocks" not in sys.modules
    assert sorted(file.name for file in tmp_path.iterdir()) == ["mine.py", "my_blocks.py"]
    written(tmp_path, "WIDTH = 5\n", "my_blocks.py")
    path.write_text(path.read_text().replace("WIDTH, 2", "WIDTH, 6"))
    module = build(path)
    assert (module.in_features, module.out_features) == (5, 6)


def test_a_relative_path_is_looked_for_where_the_program_was_started(tmp_path, monkeypatch):
    written(tmp_path, "def make(): return nn.Linear(1, 1)")
    monkeypatch.chdir(tmp_path)
    assert isinstance(build(Path("mine.py")), nn.Linear)


FAILURES = [
    ("def makes(): ...", r"^mine\.py has no function 'make'; did you mean makes\?$"),
    ("def net(): ...\ndef other(): ...", r"^mine\.py has no function 'make'; it has net, other\.$"),
    ("X = 1", r"^mine\.py has no function 'make'; write a function of that name\.$"),
    ("make = 3", r"^make of mine\.py is of type int and no function; name a function that returns the network\.$"),
    (
        "def make(): return 3",
        r"^make of mine\.py returns something of type int; let it return the network, a torch\.nn\.Module\.$",
    ),
    ("def make(): pass", r"^make of mine\.py returns nothing; let it return the network, a torch\.nn\.Module\.$"),
    (
        "def make(depth, num_classes): ...",
        r"^make of mine\.py needs depth, which the program does not know; give it a default, or write a function that needs "
        r"nothing but num_classes and channels\.$",
    ),
    ("def make(depth, width): ...", r"^make of mine\.py needs depth and width, which .* give them defaults, or write"),
    (
        "def make(num_classes):\n    return nn.Linear(\n        'a', num_classes)",
        r"^make\(num_classes=4\) of mine\.py failed: TypeError: .* \(line \d\); mend it and load the model again\.$",
    ),
    (
        "def help():\n    raise ValueError('too\\nwide')\ndef make():\n    help()",
        r"^make\(\) of mine\.py failed: ValueError: too wide \(line 3\); mend it",
    ),
    ("import sys\nsys.exit(3)", r"^mine\.py cannot be run: SystemExit: 3 \(line 3\); mend it and load the model again\.$"),
    ("import no_such_module_at_all", r"^mine\.py cannot be run: ModuleNotFoundError: No module named .* \(line 2\); mend"),
    ("def make(:\n    pass", r"^mine\.py cannot be run: SyntaxError: .* \(line 2\); mend"),
]


@pytest.mark.parametrize(("text", "sentence"), FAILURES)
def test_every_failure_of_the_file_gives_a_sentence(tmp_path, text, sentence):
    before = list(sys.path)
    with pytest.raises(ModelError, match=sentence) as caught:
        build(written(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert sys.path == before


def test_a_file_that_is_not_there_gives_a_sentence_before_anybody_is_asked(tmp_path):
    with pytest.raises(ModelError, match=r"^There is no Python file .*mine\.py; check the path before the colon\.$") as e:
        build(tmp_path / "mine.py", trust=False)
    assert not isinstance(e.value, ConsentNeeded)
