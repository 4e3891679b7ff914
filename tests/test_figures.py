"""Figures whose names are anything at all."""

from __future__ import annotations

import warnings

from matplotlib.figure import Figure

from napari_cam_feedback.figures import png_of


def test_names_with_dollars_backslashes_and_letters_that_no_font_has_are_drawn_without_a_word():
    figure = Figure(figsize=(1, 1))
    axes = figure.subplots()
    axes.set_title("$a_{ \\frac \x1b[31m 漢 \U0010fffd")
    axes.set_xticks([0, 1], ["$x^", "\x1b]0;T\x07"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert png_of(figure).startswith(b"\x89PNG")
