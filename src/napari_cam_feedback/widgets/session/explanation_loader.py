"""Fetching the current item's explanation, and its neighbours' ahead of time, in one background thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_cam_feedback.errors import describe
from napari_cam_feedback.monitor import Callbacks
from napari_cam_feedback.widgets.tasks.gc_pause import no_collection_here
from napari_cam_feedback.widgets.tasks.main_thread import MainThread

if TYPE_CHECKING:
    from napari_cam_feedback.explanations import Explanation, ExplanationCache

logger = logging.getLogger(__name__)

#: (item index, target, method), as `ExplanationCache.get` takes them.
Request = tuple[int, Any, str]


class ExplanationLoader:
    """Computes what is asked for, most urgent first; a new list of wishes replaces the old one, and what is computed and not
    wished for any more is broken off.

    Parameters
    ----------
    main : MainThread
        Through which results come back.
    on_ready : callable
        Takes (request, Explanation or None, sentence or None) on the main thread, for every finished request.
    """

    def __init__(self, main: MainThread, on_ready: Callable[[Request, Explanation | None, str | None], None]) -> None:
        self._main = main
        self._on_ready = on_ready
        self._condition = threading.Condition()
        self._explanation_cache: ExplanationCache | None = None
        self._wishes: list[Request] = []
        self._wanted: frozenset[Request] = frozenset()
        self._closed = False
        self._thread: threading.Thread | None = None

    def use(self, explanation_cache: ExplanationCache | None) -> None:
        """Take results from `explanation_cache` from now on; forget what was wished for."""
        with self._condition:
            self._explanation_cache = explanation_cache
            self._wishes, self._wanted = [], frozenset()

    def request(self, wishes: Sequence[Request]) -> None:
        """Compute these, in this order, instead of what was still waiting."""
        with self._condition:
            if self._closed or self._explanation_cache is None:
                return
            self._wishes, self._wanted = list(wishes), frozenset(wishes)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="cam-feedback inspect", daemon=True)
                self._thread.start()
            self._condition.notify_all()

    def close(self, seconds: float = 15.0) -> bool:
        """End the thread after the request it is at; returns whether it ended in time."""
        with self._condition:
            self._closed = True
            self._wishes, self._wanted = [], frozenset()
            self._condition.notify_all()
            thread = self._thread
        if thread is None:
            return True
        thread.join(seconds)
        return not thread.is_alive()

    def _obsolete(self, request: Request) -> bool:
        return request not in self._wanted

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._wishes or self._closed)
                if self._closed:
                    return
                request = self._wishes.pop(0)
                explanation_cache = self._explanation_cache
            assert explanation_cache is not None
            with no_collection_here():
                self._explain(explanation_cache, request)

    def _explain(self, explanation_cache: ExplanationCache, request: Request) -> None:
        from napari_cam_feedback.models import Interrupted, interruptible

        try:
            if explanation_cache.peek(*request) is not None:
                return
            with interruptible(explanation_cache.classifier.module, Callbacks(stop=partial(self._obsolete, request))):
                explanation, sentence = explanation_cache.get(*request), None
        except Interrupted:
            return
        except BaseException as error:  # or the thread ends, and no further image is explained
            logger.info("explaining item %s failed", request[0], exc_info=True)
            explanation, sentence = None, describe(error)
        self._main.post(self._deliver, explanation_cache, request, explanation, sentence)

    def _deliver(
        self, explanation_cache: ExplanationCache, request: Request, explanation: Explanation | None, sentence: str | None
    ) -> None:
        # The model may have been replaced while this was computed.
        if explanation_cache is self._explanation_cache:
            self._on_ready(request, explanation, sentence)
