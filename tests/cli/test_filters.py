"""``filters`` and ``masks from-filter``: the files that they write, what they say, and what they refuse."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core_builders import stripes, without_look
from napari_cam_feedback.cli import main
from napari_cam_feedback.data import Preprocessing, open_dataset
from napari_cam_feedback.explanations import load_features, load_marks
from napari_cam_feedback.explanations.filters import survey as filter_survey
from napari_cam_feedback.feedback import MaskStore, filter_masks
from napari_cam_feedback.models import build_classifier, load_classifier, save_classifier

PAGE = Path(__file__).parents[2] / "docs" / "filters.md"
FILTERS = 64


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The stripes as a folder of class folders with known masks."""
    dataset = stripes({"train": 24, "val": 8, "test": 4})
    for index in range(len(dataset)):
        item = dataset.item(index)
        relative = Path(item.split) / dataset.class_names[item.label] / f"{index:03}.png"
        mask = dataset.known_mask(index).astype(np.uint8) * 255
        for where, pixels in ((relative, dataset.read(index)), ("masks" / relative, mask)):
            file = tmp_path / "data" / where
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
    return tmp_path / "data"


def saved(tmp_path: Path, seed: int = 0) -> Path:
    preprocessing = Preprocessing(size=(16, 16), channels=1, mean=(0.5,), std=(0.25,))
    file = tmp_path / f"m{seed}.safetensors"
    save_classifier(build_classifier("small-gap", ("across", "along"), preprocessing, seed=seed), file)
    return file


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return saved(tmp_path)


def rows(file: Path) -> list[dict[str, str]]:
    with file.open() as opened:
        return list(csv.DictReader(opened))


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must end with status 2 and one line on stderr; return the line."""
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == 2
    lines = without_look(capsys.readouterr().err)
    assert len(lines) == 1, lines
    return lines[0]


def run(*arguments: object) -> None:
    assert main([str(a) for a in arguments]) == 0


def test_filters_writes_tables_pictures_and_arrays(data, model, tmp_path, capsys):
    folder, said = tmp_path / "out", tmp_path / "said.json"
    run("filters", model, data, "--out", folder, "--top", 2, "--json", said)
    result = json.loads(said.read_text())
    first, second = result["galleries"]
    expected = {"features.npz", "filters.csv", "contributions.csv", "histograms.csv", "ranking.csv"}
    expected |= {"accuracy_curve.csv", "accuracy_curve.png", "embedding.csv", "embedding.png"}
    expected |= {f"{kind}_{number:04d}.png" for kind in ("gallery", "histogram") for number in (first, second)}
    assert {path.name for path in folder.iterdir()} == expected == set(result["files"])

    features = load_features(folder / "features.npz")
    assert features.mean.shape == (24, FILTERS)
    overview = rows(folder / "filters.csv")
    assert [int(row["filter"]) for row in overview] == list(range(FILTERS))
    assert float(overview[5]["activation"]) == pytest.approx(features.mean[:, 5].mean(), rel=1e-4)
    ranking = rows(folder / "ranking.csv")
    assert [int(row["filter"]) for row in ranking][:2] == [first, second]
    assert int(overview[first]["place"]) == 1
    contributions = rows(folder / "contributions.csv")
    head = load_classifier(model, device="cpu").head
    across = features.mean[features.labels == 0].mean(0)[5] * float(head.weight[0, 5])
    assert float(contributions[5]["across"]) == pytest.approx(across, rel=1e-3)
    counted = [row for row in rows(folder / "histograms.csv") if int(row["filter"]) == first]
    assert sum(int(row["images"]) for row in counted) == 24
    assert len(rows(folder / "embedding.csv")) == 24
    curve = rows(folder / "accuracy_curve.csv")
    assert [int(row["filters"]) for row in curve] == list(range(1, FILTERS + 1))
    cut = [int(row["filters"]) for row in curve if row["cut"] == "1"]
    assert cut == ([] if result["curve"]["cut"] is None else [result["curve"]["cut"]])
    for name in expected:
        if name.endswith(".png"):
            with Image.open(folder / name) as picture:
                assert min(picture.size) > 100
    out = capsys.readouterr().out
    assert "of 8 validation images" in out or "on 8 validation images" in out or "validation accuracy" in out
    assert "files in" in out


def test_the_known_masks_tell_which_filters_look_at_them(data, model, tmp_path, capsys):
    run("filters", model, data, "--out", tmp_path / "out", "--top", 0, "--embedding", "none")
    overview = rows(tmp_path / "out" / "filters.csv")
    most = max(overview, key=lambda row: float(row["under_masks"]))
    assert f"Looking most at what is masked (24 images): {most['filter']}, " in capsys.readouterr().out
    assert not (tmp_path / "out" / "embedding.csv").exists()


def test_the_filters_named_are_those_drawn(data, model, tmp_path):
    run(
        "filters", model, data, "--out", tmp_path / "out", "--filter", 7, "--filter", 3, "--filter", 7, "--embedding", "none"
    )
    assert {path.name for path in (tmp_path / "out").glob("gallery_*")} == {"gallery_0003.png", "gallery_0007.png"}


def test_a_second_time_the_cache_spares_the_network_and_the_ranking(data, model, tmp_path, monkeypatch):
    arguments = ["filters", model, data, "--top", 0, "--embedding", "none", "--cache", tmp_path / "cache"]
    run(*arguments, "--out", tmp_path / "one")

    def again(*_: object, **__: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr("napari_cam_feedback.explanations.filters.features.iterate_features", again)
    monkeypatch.setattr(filter_survey, "rank_filters", again)
    monkeypatch.setattr(filter_survey, "accuracy_curve", again)
    run(*arguments, "--out", tmp_path / "two")
    for name in ("ranking.csv", "accuracy_curve.csv", "contributions.csv", "filters.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    # Other weights, or other images, are not taken from it.
    with pytest.raises(AssertionError, match="computed again"):
        filter_survey.survey_filters(
            load_classifier(saved(tmp_path, 1), device="cpu"), open_dataset(data), cache=tmp_path / "cache"
        )


def test_broken_images_are_listed_once_and_the_rest_is_done(data, model, tmp_path, capsys):
    (data / "train" / "along" / "001.png").write_bytes(b"broken")
    run("filters", model, data, "--out", tmp_path / "out", "--top", 1, "--json", tmp_path / "said.json")
    error = capsys.readouterr().err
    assert error.count("left out: train/along/001.png: ") == error.count("left out: ") == 1
    assert list(json.loads((tmp_path / "said.json").read_text())["skipped"]) == ["train/along/001.png"]
    assert len(load_features(tmp_path / "out" / "features.npz")) == 23


def test_without_a_validation_split_there_is_no_curve_and_it_says_so(data, model, tmp_path, capsys):
    run("filters", model, data, "--out", tmp_path / "out", "--validation", "nope", "--top", 0, "--embedding", "none")
    note = "There is no accuracy curve, since there are no images to try it on beside train; add a split val."
    assert note in " ".join(capsys.readouterr().err.split())
    assert (tmp_path / "out" / "ranking.csv").exists()
    assert not (tmp_path / "out" / "accuracy_curve.csv").exists()


def test_images_without_labels_have_galleries_but_no_ranking(data, model, tmp_path, capsys):
    (tmp_path / "list.csv").write_text(
        "path,label,split\n"
        + "".join(f"data/{path.relative_to(data)},,train\n" for path in sorted(data.glob("train/*/*.png")))
    )
    run("filters", model, tmp_path / "list.csv", "--out", tmp_path / "out", "--top", 1)
    error = " ".join(capsys.readouterr().err.split())
    assert "Ranking filters needs labelled images of at least two classes; add labels, or choose another split." in error
    assert "Contributions to classes need labelled images; none of these has a label." in error
    assert not (tmp_path / "out" / "ranking.csv").exists()
    assert len(list((tmp_path / "out").glob("gallery_*.png"))) == 1


def test_an_earlier_version_tells_which_filters_changed(data, model, tmp_path, capsys):
    other = saved(tmp_path, 1)
    arguments = ["--top", 1, "--embedding", "none", "--json", tmp_path / "said.json"]
    run("filters", other, data, "--out", tmp_path / "out", "--before", model, *arguments)
    changes = rows(tmp_path / "out" / "changes.csv")
    assert len(changes) == FILTERS
    sizes = [abs(float(row["change"])) for row in changes]
    assert sizes == sorted(sizes, reverse=True)
    most = json.loads((tmp_path / "said.json").read_text())["changes"]["most"]
    assert most == [int(row["filter"]) for row in changes[:8]]
    assert "Changed most: " in capsys.readouterr().out
    assert len(list((tmp_path / "out").glob("change_*.png"))) == 1


def test_the_projects_marks_are_compared_with_the_ranking(data, model, tmp_path, capsys):
    classifier = load_classifier(model, device="cpu")
    run("filters", model, data, "--out", tmp_path / "one", "--top", 0, "--embedding", "none")
    order = [int(row["filter"]) for row in rows(tmp_path / "one" / "ranking.csv")]
    marks = load_marks(tmp_path, classifier).marked(order[0], "relevant").marked(order[-1], "relevant")
    marks.marked(order[-2], "irrelevant").save(tmp_path)
    said = tmp_path / "said.json"
    run("filters", model, data, "--out", tmp_path / "two", "--top", 0, "--project", tmp_path, "--json", said)
    found = json.loads(said.read_text())
    assert (found["agreement"]["precision"], found["agreement"]["recall"]) == (1.0, 0.5)
    assert "100% are relevant" in capsys.readouterr().out
    marked = {int(row["filter"]): row["mark"] for row in rows(tmp_path / "two" / "filters.csv") if row["mark"]}
    assert marked == {order[0]: "relevant", order[-1]: "relevant", order[-2]: "irrelevant"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--filter", "64"], "There is no filter 64; the target layer's filters are 0 to 63."),
        (["--embedding", "mds"], "There is no embedding 'mds'; choose pca, tsne, umap or none."),
        (["--split", "tset"], 'There is no split "tset", only train, val, test; did you mean "test"?'),
        (["--project", "nowhere"], "There is no folder nowhere; name the project's folder."),
        (["--masks", "nowhere"], "There is no folder nowhere; name the folder that holds the masks."),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(data, model, tmp_path, capsys, words, sentence):
    said = fails(capsys, "filters", model, data, "--out", tmp_path / "out", *words)
    assert said == f"napari-cam-feedback: {sentence}"
    assert not (tmp_path / "out").exists()


def test_masks_from_a_filter_are_ordinary_masks_and_overwrite_none(data, model, tmp_path, capsys):
    folder, said = tmp_path / "masks", tmp_path / "said.json"
    dataset = open_dataset(data)
    painted = np.zeros((16, 16), bool)
    painted[4:6, 4:6] = True
    MaskStore(folder).put("train/along/001.png", painted)
    arguments = ["masks", "from-filter", model, data, "--filter", 5, "--percentile", 80, "--split", "train"]
    run(*arguments, "--out", folder, "--json", said)
    store = MaskStore(folder)
    assert (store["train/along/001.png"] == painted).all()
    result = json.loads(said.read_text())
    assert result["kept"] == ["train/along/001.png"]
    classifier = load_classifier(model, device="cpu")
    expected = {m.key: m.mask for m in filter_masks(classifier, dataset, dataset.indices("train"), 5, percentile=80.0)}
    for key in result["written"]:
        assert (store[key] == expected[key]).all()
        assert store.info(key)["author"] == "filter 5"
    assert len(result["written"]) + len(result["empty"]) == 23
    assert "1 image had a mask already, which was kept" in capsys.readouterr().out


def test_masks_can_be_made_of_the_images_that_excite_the_filter_most(data, model, tmp_path):
    said = tmp_path / "said.json"
    run("masks", "from-filter", model, data, "--filter", 5, "--top", 3, "--out", tmp_path / "masks", "--json", said)
    run("filters", model, data, "--out", tmp_path / "out", "--top", 0, "--embedding", "none")
    features = load_features(tmp_path / "out" / "features.npz")
    best = {features.keys[n] for n in np.argsort(-features.mean[:, 5], kind="stable")[:3]}
    result = json.loads(said.read_text())
    assert {*result["written"], *result["empty"]} == best


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--filter", "64"], "There is no filter 64; the target layer's filters are 0 to 63."),
        (["--filter", "1", "--percentile", "100"], "The percentile cannot be 100; choose one from 0 to below 100."),
        (["--filter", "1", "--over", "all"], "A percentile cannot be taken over 'all'; choose image or split."),
        (["--filter", "1", "--split", "no"], 'There is no split "no", only train, val, test; choose one of these.'),
    ],
)
def test_masks_that_cannot_be_made_are_said_in_one_line(data, model, tmp_path, capsys, words, sentence):
    said = fails(capsys, "masks", "from-filter", model, data, "--out", tmp_path / "masks", *words)
    assert said == f"napari-cam-feedback: {sentence}"


def test_images_that_cannot_be_read_get_no_mask_and_are_listed(data, model, tmp_path, capsys):
    (data / "train" / "along" / "001.png").write_bytes(b"broken")
    run("masks", "from-filter", model, data, "--filter", 5, "--out", tmp_path / "masks")
    assert capsys.readouterr().err.count("left out: train/along/001.png") == 1
    for path in data.glob("val/*/*.png"):
        path.write_bytes(b"broken")
    said = fails(capsys, "masks", "from-filter", model, data, "--filter", 5, "--split", "val", "--out", tmp_path / "masks")
    assert said.startswith("napari-cam-feedback: No image of the split val could be read: ")


def test_every_example_of_the_page_on_filters_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    commands = 0
    for found in re.finditer(r"^```sh\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S):
        for command in found[1].replace("\\\n", " ").splitlines():
            program, *arguments = shlex.split(command, comments=True)
            assert program == "napari-cam-feedback"
            status = main(arguments)
            assert status == 0, f"{command}\n{capsys.readouterr().err}"
            commands += 1
    assert commands >= 4
