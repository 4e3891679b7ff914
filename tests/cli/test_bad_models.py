"""What is no model, or none for these images, is refused by the shell with its remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli_runs import FACTORY, fails, ours, small_gap, write_stripes
from napari_cam_feedback.torch_loader import torch


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stripes(tmp_path_factory.mktemp("stripes"))


BAD = [
    (["{ours}", "--layer", "featurs"], "features"),
    (["{ours}", "--layer", "head"], "head"),
    (["{ours}", "--mean", "0.5;0.5"], "--mean must be numbers joined by commas, as 0.485,0.456,0.406, not '0.5;0.5'."),
    (["{ours}", "--std", "0"], "std"),
    (["{ours}", "--mean", "0.1,0.2,0.3"], "mean"),
    (["{ours}", "--mean", "nan"], "mean"),
    (["{ours}", "--size", "0", "16"], "The option size of a model cannot be (0, 16)"),
    (["{ours}", "--size", "16"], "--size"),
    (["{ours}", "--resize-to", "-3"], "The option resize_to of a model cannot be -3"),
    (["{ours}", "--resize-to", "10"], "resize_to must not be smaller than size"),
    (["{ours}", "--interpolation", "cubic"], "'bilinear' or 'bicubic'"),
    (["{ours}", "--channel-order", "rbg"], "'rgb' or 'bgr'"),
    (["{ours}", "--channels", "4"], "1 or 3"),
    (["{ours}", "--value-range", "5", "5"], "value_range"),
    (["{ours}", "--value-range", "low", "5"], "--value-range"),
    (["{ours}", "--grid", "0", "4"], "The option grid of a model cannot be (0, 4)"),
    (["{ours}", "--classes", "nowhere.txt"], "nowhere.txt"),
    (["{ours}", "--classes", "{data}"], "class names"),
    (["{ours}", "--classes", "{broken}"], "class names"),
    (["{ours}", "--device", "tpu"], "There is no device 'tpu'"),
    (["nowhere.pt", "--arch", "small-gap"], "There is no model file nowhere.pt; check the path."),
    (["{data}", "--arch", "small-gap"], "check the path"),
    (["{broken}", "--arch", "small-gap"], "state dict"),
    (["{pickled}", "--arch", "small-gap"], "state_dict"),
    (["{empty}", "--arch", "small-gap"], "holds no weights"),
    (["{text}", "--arch", "small-gap"], ".safetensors"),
    (["{half}"], "copy it again"),
    (["{state}"], "--arch"),
    (["{state}", "--arch", "smal-gap"], "did you mean small-gap"),
    (["{state}", "--arch", "torchvision:resnet81"], "did you mean"),
    (["{state}", "--arch", "timm:resnet10y"], "resnet10"),
    (["{state}", "--arch", "nowhere.py:tiny", "--trust"], "nowhere.py"),
    (["{state}", "--arch", "{net}:tinny", "--trust"], "tiny"),
    (["{state}", "--arch", "{raises}:tiny", "--trust"], "no luck"),
    (["{state}", "--arch", "{net}", "--trust"], ".py:"),
    (["torchvision:resnet81"], "did you mean"),
    (["{brokenpt2}", "--trust"], "broken.pt2"),
]


@pytest.mark.parametrize(("arguments", "said"), BAD, ids=[" ".join(arguments) for arguments, _ in BAD])
def test_a_model_that_cannot_be_used_is_one_line_with_its_remedy(arguments, said, data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = {"data": data, "ours": Path(ours(tmp_path)[0])}
    torch.save(small_gap().module.state_dict(), tmp_path / "state.pt")
    places["state"] = tmp_path / "state.pt"
    for name, (file, content) in {
        "broken": ("broken.pt", b"no model"),
        "brokenpt2": ("broken.pt2", b"no model"),
        "text": ("text.md", b"no model"),
        "half": ("half.safetensors", places["ours"].read_bytes()[:5000]),
        "net": ("net.py", FACTORY.encode()),
        "raises": ("raises.py", b"raise ValueError('no luck')"),
    }.items():
        (tmp_path / file).write_bytes(content)
        places[name] = tmp_path / file
    torch.save(torch.nn.Linear(2, 2), tmp_path / "pickled.pt")
    torch.save({}, tmp_path / "empty.pt")
    places |= {"pickled": tmp_path / "pickled.pt", "empty": tmp_path / "empty.pt"}
    model, *options = (word.format(**places) for word in arguments)
    line, _ = fails(capsys, "evaluate", model, data, *options)
    assert said in line
