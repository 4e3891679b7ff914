"""One protocol says how far work is and stops it; the keywords that it replaced still work, with a warning."""

from __future__ import annotations

import inspect
import warnings

import pytest

from napari_cam_feedback.monitor import QUIET, Callbacks, Monitor, Part, takes_monitor


@takes_monitor
def count(to: int, *, monitor: Monitor = QUIET) -> int:
    """Count, and say so."""
    for done in range(to):
        if monitor.stopped:
            return done
        monitor.progress(done + 1, to, "counting")
    return to


@takes_monitor
def steps(to: int, *, monitor: Monitor = QUIET):
    """Count in steps."""
    for done in range(to):
        if monitor.stopped:
            return
        yield done


def test_a_script_hears_by_functions_of_its_own_and_stops():
    heard = []
    assert count(2, monitor=Callbacks(lambda *told: heard.append(told))) == 2
    assert heard == [(1, 2, "counting"), (2, 2, "counting")]
    assert count(9, monitor=Callbacks(lambda *told: heard.append(told), lambda: len(heard) >= 5)) == 3
    assert count(3) == 3


def test_a_part_is_told_under_its_own_message_and_stops_with_the_whole():
    heard: list[tuple[int, int, str]] = []
    whole = Callbacks(lambda *told: heard.append(told), lambda: len(heard) == 2)
    Part(whole, "reading").progress(1, 4)
    assert count(5, monitor=Part(whole, "of no use")) == 1
    assert heard == [(1, 4, "reading"), (1, 5, "counting")]
    assert count(5, monitor=Part(QUIET, silent=True)) == 5
    Part(whole, silent=True).progress(1, 1)
    assert len(heard) == 2


def test_the_old_keywords_work_for_a_release_and_warn():
    heard = []
    with pytest.warns(DeprecationWarning, match=r"count takes monitor=.* in place of progress, stop"):
        assert count(3, progress=lambda done, total: heard.append((done, total)), stop=lambda: False) == 3
    assert heard == [(1, 3), (2, 3), (3, 3)]
    with pytest.warns(DeprecationWarning, match="in place of report"):
        count(1, report=lambda message, done, total: heard.append((message, done, total)))
    assert heard[-1] == ("counting", 1, 1)
    with pytest.warns(DeprecationWarning, match="in place of stop"):
        assert list(steps(3, stop=lambda: True)) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert count(2, progress=None, stop=None) == 2


def test_what_is_wrapped_still_says_what_it_takes():
    assert list(inspect.signature(count).parameters) == ["to", "monitor"]
    assert count.__doc__ == "Count, and say so."
