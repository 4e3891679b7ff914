"""One page of measurements, and what got worse from one to the next."""

from __future__ import annotations

import pytest
from benchmarks import page
from benchmarks.compare import main
from benchmarks.figures import Figure, read, tell


def test_a_figure_that_is_printed_is_read_again_and_other_lines_stay(capsys):
    tell("the next image, median", 23.14159, "ms")
    tell("tags, 20 masks: accuracy on test", 0.9421, better="more")
    print("a line")
    figures, others = read(capsys.readouterr().out.splitlines())
    assert figures == [
        Figure("the next image, median", 23.14, "ms", "less"),
        Figure("tags, 20 masks: accuracy on test", 0.9421, "", "more"),
    ]
    assert others == ["a line"]


@pytest.fixture
def pages(tmp_path, monkeypatch):
    """Write two pages whose only part has these figures; returns their paths."""

    def write(*both):
        files = []
        for number, figures in enumerate(both):
            monkeypatch.setattr(page, "_run", lambda part, figures=figures: (figures, "text"))
            files.append(tmp_path / f"{number}.md")
            page.write_page(files[-1], ["start"])
        return files

    return write


def test_a_page_describes_the_machine_and_has_all_figures(pages):
    (file,) = pages([Figure("stop", 0.25, "s", "less"), Figure("accuracy", 0.9, "", "more")])
    text = file.read_text(encoding="utf-8")
    for fact in ("| torch |", "| cores |", "| memory |", "| processor |", "| device |"):
        assert fact in text
    assert page.read_page(file) == {
        ("start", "stop"): Figure("stop", 0.25, "s", "less"),
        ("start", "accuracy"): Figure("accuracy", 0.9, "", "more"),
    }


def test_what_got_worse_is_said_the_most_first_and_the_status_says_that_there_is_some(pages, capsys):
    old = [
        Figure("a", 1.0, "s", "less"),
        Figure("b", 1.0, "s", "less"),
        Figure("c", 0.90, "", "more"),
        Figure("d", 1, "s", "less"),
    ]
    new = [
        Figure("a", 1.3, "s", "less"),
        Figure("b", 0.5, "s", "less"),
        Figure("c", 0.80, "", "more"),
        Figure("d", 1.1, "s", "less"),
    ]
    files = [str(file) for file in pages(old, new)]
    capsys.readouterr()
    assert main(files) == 1
    said = capsys.readouterr().out.splitlines()
    # c fell by five times what counts (0.10 of 0.02), a rose by one and a half (0.3 of 0.2); d moved by too little.
    assert said == ["Worse:", "  start: c 0.9 -> 0.8", "  start: a 1 -> 1.3 s", "Better:", "  start: b 1 -> 0.5 s"]
    assert main([files[0], files[0]]) == 0
    assert "Nothing got worse" in capsys.readouterr().out
