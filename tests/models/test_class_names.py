"""Class names are read from the forms that people have them in, and what is unclear is asked, not guessed."""

from __future__ import annotations

import json

import pytest

from napari_cam_feedback.errors import ConfigError
from napari_cam_feedback.models import read_class_names


def names(path, text: str, encoding: str = "utf-8") -> tuple[str, ...]:
    path.write_bytes(text.encode(encoding))
    return read_class_names(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.txt", "zebra\nant bear\n\n  ß-cat  \n"),
        ("c.names", "zebra\r\nant bear\r\nß-cat"),
        ("c", "\ufeffzebra\nant bear\nß-cat\n"),
        ("c.json", '["zebra", "ant bear", "ß-cat"]'),
        ("c.json", '{"classes": ["zebra", "ant bear", "ß-cat"]}'),
        ("c.json", '{"2": "ß-cat", "0": "zebra", "1": "ant bear"}'),
        ("c.json", '{"ant bear": 1, "zebra": 0, "ß-cat": 2}'),
        ("c.json", '{"idx": {"ant bear": 1, "zebra": 0, "ß-cat": 2}}'),
        ("c.json", '{"0": ["n1", "zebra"], "1": ["n2", "ant bear"], "2": ["n3", "ß-cat"]}'),
        ("c.json", '{"1": "zebra", "2": "ant bear", "3": "ß-cat"}'),
        ("C.JSON", '["zebra", "ant bear", "ß-cat"]'),
        ("c.csv", "zebra\nant bear\nß-cat\n"),
        ("c.csv", "name\nzebra\nant bear\nß-cat\n"),
        ("c.csv", "0,zebra\n2,ß-cat\n1,ant bear\n"),
        ("c.csv", "index,name\n0,zebra\n2,ß-cat\n1,ant bear\n"),
        ("c.csv", "Class Name;ID\nzebra;0\nß-cat;2\nant bear;1\n"),
        ("c.csv", "label,name\n0,zebra\n1,ant bear\n2,ß-cat\n"),
        ("c.csv", "index,name,count\n0,zebra,9\n1,ant bear,8\n2,ß-cat,7\n"),
        ("c.tsv", "0\tzebra\n1\tant bear\n2\tß-cat\n"),
        ("c.csv", "wnid,name\nn1,zebra\nn2,ant bear\nn3,ß-cat\n"),
    ],
)
def test_every_form_gives_the_names_in_the_order_of_the_outputs(tmp_path, name, text):
    assert names(tmp_path / name, text) == ("zebra", "ant bear", "ß-cat")


def test_names_that_are_numbers_stay_names(tmp_path):
    assert names(tmp_path / "c.txt", "3\n5\n") == ("3", "5")
    assert names(tmp_path / "c.json", '{"3": 0, "5": 1}') == ("3", "5")
    assert names(tmp_path / "c.json", "[3, 5]") == ("3", "5")


def test_a_thousand_outputs_are_ordered_by_number_and_not_by_text(tmp_path):
    content = {str(n): [f"n{n}", f"name {n}"] for n in range(1000)}
    assert names(tmp_path / "c.json", json.dumps(content)) == tuple(f"name {n}" for n in range(1000))


def test_imagenet_s_two_cranes_are_told_apart(tmp_path):
    text = '{"0": ["n02012849", "crane"], "1": ["n03126707", "crane"], "2": ["n2", "tench"]}'
    assert names(tmp_path / "c.json", text) == ("crane (n02012849)", "crane (n03126707)", "tench")


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("c.txt", " \n", r"There are no class names in .*c\.txt; give one a line\."),
        ("c.csv", "", r"There are no class names in .*c\.csv; give one a line\."),
        ("c.json", "[]", r"There are no class names in .*c\.json; give one a line\."),
        ("c.txt", "a\nb\na\n", r"The class 'a' is named twice in .*c\.txt; give each class another name\."),
        ("c.json", "{", r".*c\.json is not JSON \(.*\); mend it, or give a text file with one class name a line\."),
        ("c.json", "3", r'The JSON in .*c\.json does not name classes; give \["cat", "dog"\], {"0": "cat", "1"'),
        ("c.json", '{"a": "b"}', r"The JSON in .*c\.json does not name classes; give"),
        ("c.json", '[["a"]]', r"The JSON in .*c\.json does not name classes; give"),
        ("c.json", '{"0": "a", "2": "b"}', r"The outputs in .*c\.json do not run from 0 to 1: 2 \(b\) comes next; name"),
        ("c.csv", "0,a\n0,b\n", r"The outputs in .*c\.csv do not run from 0 to 1: 0 \(b\) comes twice; name"),
        ("c.csv", "0,a\n1\n", r"Line 2 of .*c\.csv has not as many columns as the first; put names with commas in quotes\."),
        ("c.csv", "x,y\na,b\nc,d\n", r"It is not clear which column of .*c\.csv names the classes; head it with “name”\."),
    ],
)  # fmt: skip
def test_what_cannot_be_used_gives_a_sentence(tmp_path, name, text, sentence):
    with pytest.raises(ConfigError, match=f"^{sentence}"):
        names(tmp_path / name, text)


def test_a_file_that_is_missing_or_no_text_gives_a_sentence(tmp_path):
    with pytest.raises(ConfigError, match=r"^Cannot read the class names in .*none\.txt: .*there is no such file or folder"):
        read_class_names(tmp_path / "none.txt")
    with pytest.raises(ConfigError, match=r"^The class names in .*c\.txt are not text in UTF-8; save the file as such\.$"):
        names(tmp_path / "c.txt", "süß", encoding="utf-16")
