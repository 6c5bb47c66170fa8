"""A thread that works on the newest items only.

Inference is slower than sensors. A queue in front of it turns a slow moment into lasting delay, so
each source has one slot: an item that is not yet begun gives way to a newer one of its source, and
whoever handed it in hears of it. The items of all sources that wait are worked on as one batch. An
exception belongs to its batch, not to the thread: it is reported and the next batch is worked on.
Knows nothing of ROS.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

Item = TypeVar('Item')
Result = TypeVar('Result')

_log = logging.getLogger(__name__)


class LatestWorker(Generic[Item]):
    """One thread, one slot per source, newest wins.

    Args:
        work: What to do with a batch: one item of each source that had one waiting, in the order
            in which they came. Runs in the worker's thread.
        on_replaced: Told of each item that was never begun: a newer one took its slot, `clear`
            took it out, or the worker stopped. Runs in the thread that caused it.
        on_error: Told of each item of a batch whose work raised, and of what it raised; runs in
            the worker's thread.
        name: Name of the thread.
    """

    def __init__(
        self,
        work: Callable[[list[Item]], object],
        *,
        on_replaced: Callable[[Item], object],
        on_error: Callable[[Item, Exception], object],
        name: str = 'worker',
    ) -> None:
        self._work = work
        self._on_replaced = on_replaced
        self._on_error = on_error
        self._ready = threading.Condition()
        self._slots: dict[Hashable, Item] = {}
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._stopping = False
        # A daemon, so that work which never returns cannot keep the process alive.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Items that are not begun."""
        with self._ready:
            return len(self._slots)

    def submit(self, item: Item, source: Hashable = None) -> None:
        """Hand in an item; one of the same source that still waits gives way to it.

        Args:
            item: What to work on. After `stop` it counts as replaced at once.
            source: Where it comes from.
        """
        with self._ready:
            unbegun = [self._slots.pop(source)] if source in self._slots else []
            if self._stopping:
                unbegun.append(item)
            else:
                self._slots[source] = item
                self._ready.notify()
        for each in unbegun:
            self._on_replaced(each)

    def call(self, function: Callable[[], Result]) -> Future[Result]:
        """Run a function in the worker's thread, before any waiting item; never replaced.

        Args:
            function: What to run.

        Returns:
            Its result, or its exception; cancelled when the worker stops before it began.
        """
        future: Future[Result] = Future()
        with self._ready:
            if not self._stopping:
                self._calls.append((future, function))
                self._ready.notify()
                return future
        future.cancel()
        return future

    def clear(self, source: Hashable = None) -> None:
        """Take out what waits.

        Args:
            source: Of this source only; None for all.
        """
        with self._ready:
            taken = [key for key in self._slots if source is None or key == source]
            unbegun = [self._slots.pop(key) for key in taken]
        for item in unbegun:
            self._on_replaced(item)

    def stop(self, timeout: float = 1.0) -> bool:
        """End the thread after the batch it is working on.

        Args:
            timeout: Longest wait for that, seconds.

        Returns:
            Whether the thread has ended. It is a daemon thread: one that is stuck in its work does
            not keep the process alive.
        """
        with self._ready:
            self._stopping = True
            unbegun, self._slots = list(self._slots.values()), {}
            calls, self._calls = self._calls, deque()
            self._ready.notify()
        for future, _ in calls:
            future.cancel()
        for item in unbegun:
            self._on_replaced(item)
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        """Take calls first, then the items in the slots, until stopped."""
        while True:
            with self._ready:
                while not (self._stopping or self._calls or self._slots):
                    self._ready.wait()
                if self._stopping:
                    return
                batch: list[Item] = []
                if self._calls:
                    future, function = self._calls.popleft()
                else:
                    batch, self._slots = list(self._slots.values()), {}
            if batch:
                self._work_on(batch)
            else:
                _complete(future, function)
            # Not kept until the next item arrives: a bundle holds tens of megabytes.
            del batch

    def _work_on(self, batch: list[Item]) -> None:
        """Work on one batch; whatever it raises ends here."""
        try:
            self._work(batch)
        except Exception as err:
            for item in batch:
                try:
                    self._on_error(item, err)
                except Exception:
                    _log.exception('the report of an error in %s raised itself', self._thread.name)


def _complete(future: Future[Any], function: Callable[[], Any]) -> None:
    """Run one call and keep its outcome."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function())
    except BaseException as err:
        future.set_exception(err)
