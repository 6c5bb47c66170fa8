"""Progress of a command: a bar on a terminal, a line every ten seconds in a log file.

Kernels that numba compiles are named while that lasts: it takes most of a minute, once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.progress import Progress, ProgressColumn

if TYPE_CHECKING:
    from rich.console import Console

EVERY_S = 10.0
COMPILING = 'compiling kernels, once (later runs take them from a cache)'


class LineProgress(Progress):
    """rich's progress, which also tells how far it is where its output is no terminal.

    Args:
        columns: As for `rich.progress.Progress`.
        console: Where it is shown.
        every_s: Seconds between two lines.
        transient: Whether the bar goes when it is done.
    """

    def __init__(
        self,
        *columns: str | ProgressColumn,
        console: Console,
        every_s: float = EVERY_S,
        transient: bool = False,
    ) -> None:
        super().__init__(*columns, console=console, transient=transient)
        self._every_s = every_s
        self._over = threading.Event()
        self._teller: threading.Thread | None = None

    def start(self) -> None:
        """Show it; also from a `with` block."""
        super().start()
        if not self.console.is_terminal and self._teller is None:
            self._over.clear()
            self._teller = threading.Thread(target=self._tell, name='progress', daemon=True)
            self._teller.start()

    def stop(self) -> None:
        """Show it no more; also at the end of a `with` block."""
        self._over.set()
        if self._teller is not None:
            self._teller.join()
            self._teller = None
        if self.live.transient:
            self.live.stop()  # rich would leave an empty line in a log file
        else:
            super().stop()

    def _tell(self) -> None:
        begin = time.monotonic()
        while not self._over.wait(self._every_s):
            for task in self.tasks:
                if not task.finished:
                    self._print_line(task, time.monotonic() - begin)

    def _print_line(self, task: Any, seconds: float) -> None:
        words = [task.description]
        if task.total:
            words.append(f'{100 * task.completed / task.total:.0f} %')
        shown = (column for column in self.columns if isinstance(column, str))
        words += [column.format(task=task) for column in shown if 'fields' in column]
        words.append(f'{seconds:.0f} s')
        self.console.print(', '.join(words), markup=False, highlight=False, soft_wrap=True)


@contextmanager
def show_status(console: Console, text: str) -> Iterator[None]:
    """Show what happens now: a spinner on a terminal, a line elsewhere.

    Args:
        console: Where.
        text: What happens.
    """
    if not console.is_terminal:
        console.print(f'{text} ...', markup=False, highlight=False)
        yield
        return
    with console.status(text):
        yield


@contextmanager
def name_compiling(show: Callable[[str], object], otherwise: str) -> Iterator[None]:
    """Say it while numba compiles.

    Args:
        show: Takes what is to be shown.
        otherwise: What is shown when nothing is compiled.
    """
    from numba.core.event import Event, Listener, install_listener

    class Compilations(Listener):
        """Compiling calls itself: a kernel that calls another."""

        depth = 0

        def on_start(self, event: Event) -> None:
            self.depth += 1
            if self.depth == 1:
                show(COMPILING)

        def on_end(self, event: Event) -> None:
            self.depth -= 1
            if self.depth == 0:
                show(otherwise)

    with install_listener('numba:compile', Compilations()):
        yield
