"""The report of two or more versions: its page, tables, LaTeX, pictures, and what it states."""

from __future__ import annotations

import copy
import csv
import html
import io
import json
import re
import shlex
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from core_builders import gray_dataset, looking_classifier, nearest_classifier, small_gap, stop_after
from napari_cam_feedback.data import ArrayDataset
from napari_cam_feedback.errors import StorageError
from napari_cam_feedback.evaluation import (
    PaintedHistory,
    class_table,
    compare_models,
    draw_painted_history,
    escape_latex,
    latex_tables,
    measure_table,
    picture_versions,
    read_painted_history,
    report_facts,
    report_versions,
)
from napari_cam_feedback.evaluation.report.pictures import choose_shown

PATCH = np.zeros((8, 8), bool)
PATCH[:3, :3] = True
MODELS = {"v001": looking_classifier(PATCH, 0.1), "v002 & <b>": looking_classifier(~PATCH, 0.1)}


@pytest.fixture(scope="module")
def dataset() -> ArrayDataset:
    """Four gray images of the class bright, three with a white patch in the corner, which is the mask of all; one dark."""
    images = np.full((5, 8, 8), 128, np.uint8)
    images[:3, :3, :3] = 255
    images[3:, :3, :3] = 0
    images[4] = 10
    return ArrayDataset({"test": images}, {"test": [1, 1, 1, 1, 0]}, ("dark", "bright"), {"test": np.stack([PATCH] * 5)})


@pytest.fixture(scope="module")
def comparison(dataset):
    return compare_models(MODELS, dataset)


@pytest.fixture(scope="module")
def written(dataset, comparison, tmp_path_factory):
    """A whole report."""
    folder = tmp_path_factory.mktemp("report") / "out"
    history = PaintedHistory("run 1", np.array([0, 10]), ("test/00000",), np.array([[0.2], [0.9]]))
    facts = report_facts(
        MODELS, dataset, files={"v001": "torchvision:x"}, command=["program", "compare", "a b", "--out", "o"]
    )
    page = report_versions(folder, comparison, MODELS, dataset, histories=[history], facts=facts)
    assert page == folder / "report.html"
    return folder


class Reader(HTMLParser):
    """Checks that tags are closed in order, and keeps the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs) -> None:
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.text += data


def test_the_page_is_whole_and_needs_no_other_file(written):
    text = (written / "report.html").read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    assert not re.search(r'(src|href)="(?!data:)', text)
    # The name of a version is text and no tag.
    assert "v002 & <b> compared with v001" in reader.text
    # What decides comes first: verdict, three numbers, images, what to do next; the tables are folded below.
    found = [text.index(part) for part in ('class="verdict"', "accuracy as it is", "Before and after", "What to do next")]
    below = [
        text.index(f">{part}<")
        for part in (
            "Measures, split by split",
            "Classes and confusion",
            "Changed predictions",
            "The painted images during retuning",
            "Filters",
            "How this was made",
        )
    ]
    assert [*found, *below] == sorted([*found, *below])
    assert "<details open" not in text
    # measures, the painted images, and a picture of each chosen image
    assert text.count("data:image/png;base64,") == 2 + len(list((written / "pictures").rglob("*.png")))


def test_the_files_hold_the_numbers(written, comparison):
    content = json.loads((written / "report.json").read_text(encoding="utf-8"))
    assert content["comparison"] == comparison.to_json()
    assert (written / "report.csv").read_text() == comparison.to_csv()
    classes = list(csv.DictReader((written / "classes.csv").open()))
    bright = {row["version"]: row for row in classes if row["class"] == "bright"}
    assert (bright["v001"]["recall"], bright["v002 & <b>"]["recall"]) == ("0.75", "1")
    assert float(bright["v002 & <b>"]["change_recall"]) == 0.25
    counts = list(csv.DictReader((written / "confusion.csv").open()))
    assert sum(int(row["images"]) for row in counts if row["version"] == "v001") == 5
    assert [row["images"] for row in counts[:4]] == ["1", "0", "1", "3"]
    assert (written / "flips-v002----b-.csv").read_text() == comparison.flips[0].to_csv(("dark", "bright"))
    assert len((written / "filters-v002----b-.csv").read_text().splitlines()) == 2  # of one filter


def test_a_report_states_data_models_seeds_versions_and_a_command_that_a_shell_takes(written):
    facts = json.loads((written / "report.json").read_text(encoding="utf-8"))["facts"]
    assert facts["Data"] == "in memory; 5 images (5 test), 2 classes"
    assert facts["Model v001"].startswith("torchvision:x; looking, target layer look, ")
    assert facts["Model v001"].endswith(f"fingerprint {MODELS['v001'].fingerprint()}")
    assert facts["Model v002 & <b>"].startswith("in memory; ")
    assert facts["Masks"] == "those that the data bring along"
    assert facts["Seed"] == "0"
    for package in ("napari-cam-feedback", "Python", "torch", "torchvision", "numpy"):
        assert re.search(rf"\b{package} \d", facts["Versions"])
    assert facts["Command"] == "program compare 'a b' --out o"
    assert shlex.split(facts["Command"]) == ["program", "compare", "a b", "--out", "o"]
    text = (written / "report.html").read_text(encoding="utf-8")
    assert "<code>program compare 'a b' --out o</code>" in html.unescape(text)


def test_changes_are_marked(written):
    text = (written / "report.html").read_text(encoding="utf-8")
    # Of five images three flipped and none does: certain; accuracy rose by one image: may be chance.
    assert re.search(r'>flip rate</td>.*?class="number better">-0.600<br>.*?>better<', text)
    assert re.search(r'>accuracy</td>.*?class="number unsure">\+0.200<br>.*?>unsure .*?p = 1.000', text)
    assert '<span class="better">▲+0.250</span>' in text


def test_where_nothing_is_masked_the_report_says_so_and_where_layers_differ_too(tmp_path):
    grays = gray_dataset([0, 1, 2], [0, 1, 2])
    models = {"a": nearest_classifier(), "b": nearest_classifier()}
    page = report_versions(tmp_path, compare_models(models, grays), models, grays, pictures=0)
    text = page.read_text(encoding="utf-8")
    assert "No image has a mask, so nothing could be measured" in text
    assert "No prediction changed." in text
    other = {"a": nearest_classifier(), "b": small_gap(("low", "mid", "high"))}
    page = report_versions(tmp_path, compare_models(other, grays), other, grays, pictures=0)
    assert "The filters of b are not compared: The two versions" in page.read_text(encoding="utf-8")


def test_a_stopped_report_writes_nothing_and_progress_ends_at_its_total(dataset, comparison, tmp_path):
    assert report_versions(tmp_path / "no", comparison, MODELS, dataset, stop=stop_after(2)) is None
    assert not (tmp_path / "no").exists()
    seen: list[tuple[int, int]] = []
    report_versions(tmp_path / "yes", comparison, MODELS, dataset, pictures=2, progress=lambda *now: seen.append(now))
    assert seen == [(n, 5) for n in range(1, 6)]  # two pictures, two models' filters, the files


# LaTeX --------------------------------------------------------------------------------------------


def test_every_character_with_a_meaning_in_latex_is_escaped():
    assert escape_latex(r"a_b & 50% $x$ #1 {y} ~ ^ \z") == (
        r"a\_b \& 50\% \$x\$ \#1 \{y\} \textasciitilde{} \textasciicircum{} \textbackslash{}z"
    )
    assert escape_latex('<a>|b|"c"') == r"\textless{}a\textgreater{}\textbar{}b\textbar{}\textquotedbl{}c\textquotedbl{}"
    # At the start of a row, [ and * are read as options of the line break before.
    assert escape_latex("[x]*") == "{[}x{]}{*}"
    assert escape_latex("two\nlines\x00\u2028here") == "two lines here"
    assert escape_latex("2.5× – −1") == r"2.5$\times$ -- $-$1"


def cells(table: str) -> list[list[str]]:
    """The cells of a table's rows, after a check that it can be compiled: columns, braces, environments."""
    assert table.count(r"\begin{tabular}") == table.count(r"\end{tabular}") == 1
    bare = re.sub(r"\\[{}]", "", table)
    assert bare.count("{") == bare.count("}")
    columns = len(re.search(r"\\begin\{tabular\}\{(\w+)\}", table)[1])
    rows = [line.removesuffix(r"\\") for line in table.splitlines() if line.endswith(r"\\")]
    found = [[cell.strip() for cell in re.split(r"(?<!\\)&", row)] for row in rows]
    for row in found:
        spans = [int(m[1]) if (m := re.match(r"\\multicolumn\{(\d+)\}", cell)) else 1 for cell in row]
        assert sum(spans) == columns, row
    return found


def test_the_table_of_classes_has_the_form_of_the_thesis(comparison):
    table = class_table(comparison, "test")
    found = cells(table)
    assert found[0] == ["", r"\multicolumn{3}{c}{v001}", r"\multicolumn{3}{c}{v002 \& \textless{}b\textgreater{}}"]
    assert found[1] == ["Class", *["Precision", "Recall", "F1"] * 2]
    # Of one dark and four bright ones, three are seen as bright: 1/2 and 3/3; 1/1 and 3/4.
    assert found[2] == ["dark", "0.500", "1.000", "0.667", "1.000", "1.000", "1.000"]
    assert found[3] == ["bright", "1.000", "0.750", "0.857", "1.000", "1.000", "1.000"]
    assert found[4] == ["Accuracy", r"\multicolumn{3}{c}{0.800}", r"\multicolumn{3}{c}{1.000}"]
    for rule in (r"\toprule", r"\cmidrule(lr){2-4} \cmidrule(lr){5-7}", r"\midrule", r"\bottomrule"):
        assert rule in table


def test_the_table_of_measures_has_changes_with_intervals_and_all_tables_go_into_one_file(comparison):
    found = {tuple(row[:2]): row for row in cells(measure_table(comparison))}
    flips = found["test", "flip rate"]
    assert flips[2:4] == ["0.600", "0.000"]
    assert re.fullmatch(r"\$-0\.600\$ \[\$-\d\.\d{3}\$, \$-\d\.\d{3}\$\]", flips[4])
    text = latex_tables(comparison, "compare a b\nrm")
    # A comment ends with its line, so the command must not have lines.
    assert "% Made by: compare a b rm\n" in text
    assert text.count(r"\begin{table}") == 2


def test_three_versions_get_three_groups_of_columns(dataset):
    models = {"a": MODELS["v001"], "b": looking_classifier(~PATCH, 0.1), "c": MODELS["v001"]}
    found = compare_models(models, dataset)
    assert [len(row) for row in cells(class_table(found, "test"))[:2]] == [4, 10]
    assert len(cells(measure_table(found))[0]) == 7


# Pictures -----------------------------------------------------------------------------------------


def pixels(picture) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB")).astype(int)


def test_a_picture_of_two_versions_has_image_maps_and_difference(dataset):
    picture = picture_versions(MODELS, dataset, 0, PATCH)
    assert picture.key == "test/00000"
    assert picture.caption.startswith("test/00000: bright; predicted bright by v001 (bright: ")
    assert picture.caption.endswith("Heatmaps of the class bright.")
    shown = pixels(picture)
    assert shown.shape[1] > 3 * shown.shape[0]
    same = pixels(picture_versions({"v001": MODELS["v001"], "v002 & <b>": MODELS["v001"]}, dataset, 0, PATCH))
    quarter = shown.shape[1] // 4
    differ = [bool(np.abs(shown - same)[:, n * quarter : (n + 1) * quarter].any()) for n in range(4)]
    assert differ == [False, False, True, True]
    # Blue where the later map lost, in the corner; nothing where both are the same.
    last = shown[40:, 3 * quarter :], same[40:, 3 * quarter :]
    blue = [(part[..., 2] - part[..., 0] > 60).sum() for part in last]
    assert blue[0] > 500
    assert blue[1] == 0


def test_a_picture_of_three_versions_has_the_differences_below(dataset):
    three = pixels(picture_versions({**MODELS, "v003": MODELS["v001"]}, dataset, 4))
    assert three.shape[0] > 1.8 * pixels(picture_versions(MODELS, dataset, 4)).shape[0]


def test_painted_and_flipped_images_take_turns_and_none_comes_twice():
    assert choose_shown([1, 2, 3], [[4, 1, 5], [], [2]], 6) == [1, 4, 2, 3, 5]
    assert choose_shown([1, 2, 3], [[4]], 2) == [1, 4]
    assert choose_shown([1], [[2]], 0) == []


def test_images_drawn_are_spread_over_splits_and_classes():
    splits = np.repeat(["train", "val", "test"], 100)
    labels = np.tile(np.repeat(np.arange(10), 10), 3)
    # As flips come: in the dataset's order, which begins with one class of one split.
    found = choose_shown(range(0, 300, 3), [range(0, 300), range(1, 300, 2), []], 12, (splits, labels))
    assert len(set(found)) == 12
    assert sorted(np.unique(splits[found], return_counts=True)[1]) == [4, 4, 4]
    assert len(set(labels[found])) == 10


def test_only_images_of_the_splits_asked_for_are_drawn(tmp_path):
    images = np.full((6, 8, 8), 128, np.uint8)
    parts = dict.fromkeys(("train", "val", "test"), images)
    dataset = ArrayDataset(
        parts,
        {name: [0, 1] * 3 for name in parts},
        ("dark", "bright"),
        {name: np.stack([PATCH] * 6) for name in parts},
    )
    comparison = compare_models(MODELS, dataset, splits=["val", "test"])
    report_versions(tmp_path, comparison, MODELS, dataset, pictures=4, filters=False)
    drawn = sorted(path.parent.name for path in (tmp_path / "pictures").rglob("*.png"))
    assert drawn == ["test", "test", "val", "val"]


# Painted images over the iterations ---------------------------------------------------------------


def test_what_a_run_wrote_of_its_painted_images_is_read_back(tmp_path):
    (tmp_path / "painted.csv").write_text("iteration,key,probability\n0,b,0.25\n0,a,0.5\n20,a,0.75\n")
    found = read_painted_history(tmp_path, "my run")
    assert (found.name, found.keys, found.iterations.tolist()) == ("my run", ("b", "a"), [0, 20])
    assert np.array_equal(found.probabilities, [[0.25, 0.5], [np.nan, 0.75]], equal_nan=True)
    picture = draw_painted_history(found)
    assert "my run: what the true class of each of the 2 painted images got." in picture.caption
    assert pixels(picture).shape[1] > 400


@pytest.mark.parametrize("text", ["iteration,key\n1,a\n", "iteration,key,probability\nx,a,0.5\n"])
def test_another_file_is_refused(tmp_path, text):
    (tmp_path / "painted.csv").write_text(text)
    with pytest.raises(
        StorageError, match="is not the list of painted images that a run writes; name the folder of another run"
    ):
        read_painted_history(tmp_path)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(StorageError, match=r"There is no run in .*: it has no painted.csv; name the folder of a retune\."):
        read_painted_history(tmp_path)


def test_the_facts_say_how_a_model_was_retuned_with_what_was_left_open(dataset):
    model = copy.copy(MODELS["v001"])
    resolved = {
        "method": "actdiff+transplant",
        "learning_rate": 3e-4,
        "learning_rate_chosen": "As given.",
        "strength": {"actdiff": 2.0},
        "distillation": True,
        "batch_size": 32,
        "painted_per_step": 8,
        "iterations": 60,
        "iterations_at_most": 300,
        "check_every": 15,
        "validation_images": 200,
        "freeze_batch_norm": True,
        "target_layer": "layer4",
        "refill": "surround",
        "seed": 7,
        "device": "cpu",
        "threads": 1,
        "versions": "torch 2.0",
    }
    model.info = {"retune": {"iteration": 45, "share": 0.75, "resolved": resolved}}
    facts = report_facts({"v001": MODELS["v001"], "v002": model}, dataset)
    assert "Retune of v001" not in facts
    assert facts["Retune of v002"] == (
        "method actdiff+transplant; learning rate 0.0003 (as given); 60 steps of at most 300, a check on 200 validation "
        "images every 15; weights of iteration 45, 75% of the way from the given ones; 32 training and 8 painted images a "
        "step; "
        "strength actdiff 2; target layer layer4; refill surround; teacher: the given model; batch norm frozen; seed 7; "
        "cpu, threads: 1; torch 2.0"
    )
    model.info = {"retune": {"config": {"seed": 7}}}
    assert "Retune of v002" not in report_facts({"v002": model}, dataset)
