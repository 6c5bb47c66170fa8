"""A thread that works on the newest item only.

Inference is slower than sensors. A queue in front of it turns a slow moment into lasting delay, so
there is one slot: an item that is not yet begun gives way to a newer one, and whoever handed it in
hears of it. An exception belongs to its item, not to the thread: it is reported and the next item
is worked on. Knows nothing of ROS.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

Item = TypeVar('Item')
Result = TypeVar('Result')

_log = logging.getLogger(__name__)


class LatestWorker(Generic[Item]):
    """One thread, one slot, newest wins.

    Args:
        work: What to do with an item; runs in the worker's thread.
        on_replaced: Told of each item that was never begun: a newer one took its slot, `clear`
            took it out, or the worker stopped. Runs in the thread that caused it.
        on_error: Told of an item whose work raised, and of what it raised; runs in the worker's
            thread.
        name: Name of the thread.
    """

    def __init__(
        self,
        work: Callable[[Item], object],
        *,
        on_replaced: Callable[[Item], object],
        on_error: Callable[[Item, Exception], object],
        name: str = 'worker',
    ) -> None:
        self._work = work
        self._on_replaced = on_replaced
        self._on_error = on_error
        self._ready = threading.Condition()
        self._slot: list[Item] = []  # empty or one item: an item may itself be None
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._stopping = False
        self._busy = False
        # A daemon, so that work which never returns cannot keep the process alive.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether an item or a call is being worked on or waits."""
        with self._ready:
            return self._busy or bool(self._slot) or bool(self._calls)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def submit(self, item: Item) -> None:
        """Hand in an item; one that still waits gives way to it.

        Args:
            item: What to work on. After `stop` it counts as replaced at once.
        """
        with self._ready:
            unbegun = self._slot
            if self._stopping:
                unbegun = [item]
            else:
                self._slot = [item]
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

    def clear(self) -> None:
        """Take the waiting item out of the slot, if there is one."""
        with self._ready:
            unbegun, self._slot = self._slot, []
        for item in unbegun:
            self._on_replaced(item)

    def stop(self, timeout: float = 1.0) -> bool:
        """End the thread after the item it is working on.

        Args:
            timeout: Longest wait for that, seconds.

        Returns:
            Whether the thread has ended. It is a daemon thread: one that is stuck in its work does
            not keep the process alive.
        """
        with self._ready:
            self._stopping = True
            unbegun, self._slot = self._slot, []
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
        """Take calls first, then the item in the slot, until stopped."""
        while True:
            with self._ready:
                self._busy = False
                while not (self._stopping or self._calls or self._slot):
                    self._ready.wait()
                if self._stopping:
                    return
                self._busy = True
                if self._calls:
                    future, function = self._calls.popleft()
                    item = None
                else:
                    item, self._slot = self._slot, []
            if item is None:
                _complete(future, function)
            else:
                self._work_on(item[0])
            # Not kept until the next item arrives: a bundle holds tens of megabytes.
            del item

    def _work_on(self, item: Item) -> None:
        """Work on one item; whatever it raises ends here."""
        try:
            self._work(item)
        except Exception as err:
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
