"""Read-ahead and write-behind threads of labelling.

Both hold a bounded number of items, so that memory does not grow with a recording. numpy, OpenCV,
zstd, files and the networks work without Python's lock; what they do overlaps.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, Queue
from threading import Event, Thread
from typing import Generic, TypeVar

T = TypeVar('T')

_LOOK_S = 0.1
"""A thread that waits for room looks so often whether it is still wanted."""


@dataclass(frozen=True)
class _End:
    """The last item of a queue: all is read, or an error came."""

    error: BaseException | None = None


def read_ahead(items: Iterable[T], depth: int) -> Generator[T, None, None]:
    """Iterate in a thread of its own.

    Args:
        items: What is iterated there, and nowhere else meanwhile.
        depth: So many items at most wait to be taken.

    Yields:
        The items, in order. An error of `items` is raised here, after the items before it.
        Closing the generator ends the thread.
    """
    queue: Queue[T | _End] = Queue(depth)
    stop = Event()

    def read() -> None:
        end = _End()
        try:
            for item in items:
                if stop.is_set():
                    return
                queue.put(item)
        except BaseException as err:  # the caller's thread raises it
            end = _End(err)
        queue.put(end)

    thread = Thread(target=read, name='read_ahead', daemon=True)
    thread.start()
    try:
        while not isinstance(item := queue.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stop.set()
        while thread.is_alive():  # it may wait for room
            with suppress(Empty):
                queue.get(timeout=_LOOK_S)


class WriteBehind(Generic[T]):
    """Calls a function for each item in a thread of its own, in order; see `write_behind`."""

    def __init__(self, write: Callable[[T], None], depth: int) -> None:
        self._write = write
        self._queue: Queue[T | _End] = Queue(depth)
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, name='write_behind', daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Hand on an item; waits where too many wait already.

        Args:
            item: What the function is called with.

        Raises:
            BaseException: What the function raised for an earlier item.
        """
        if self._error is not None:
            raise self._error
        self._queue.put(item)

    def finish(self, *, discard: bool) -> None:
        """Wait until all that was put is written.

        Args:
            discard: Forget what is not written yet.

        Raises:
            BaseException: What the function raised; not where the rest is discarded.
        """
        if discard:
            self._error = self._error or InterruptedError('discarded')
        self._queue.put(_End())
        self._thread.join()
        if self._error is not None and not discard:
            raise self._error

    def _run(self) -> None:
        while not isinstance(item := self._queue.get(), _End):
            if self._error is not None:
                continue  # so that `put` never waits for a thread that has given up
            try:
                self._write(item)
            except BaseException as err:  # the caller's thread raises it
                self._error = err


@contextmanager
def write_behind(write: Callable[[T], None], depth: int) -> Generator[WriteBehind[T], None, None]:
    """Write in a thread of its own while the block runs.

    Args:
        write: Called there for each item, and nowhere else meanwhile.
        depth: So many items at most wait to be written.

    Yields:
        Takes the items. Where the block ends without an exception all items are written after
        it; with one, those that are left are forgotten.

    Raises:
        BaseException: What `write` raised.
    """
    behind = WriteBehind(write, depth)
    try:
        yield behind
    except BaseException:
        behind.finish(discard=True)
        raise
    behind.finish(discard=False)
