"""Progress of set-up steps: one line each while it runs; the output goes to a log file."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Event, Thread

# Without a terminal nobody sees a line change, so a long step says again that it lives.
_HEARTBEAT_S = 20.0


class StepError(Exception):
    """A step failed; the message is what the user reads."""


def run_logged(
    command: Sequence[str], log: Path, env: Mapping[str, str], cwd: Path | None = None
) -> int:
    """Run a command, append what it prints to a file, and return its exit status."""
    with log.open('a') as file:
        file.write(f'$ {" ".join(command)}\n')
        file.flush()
        done = subprocess.run(
            command, stdout=file, stderr=subprocess.STDOUT, env=dict(env), cwd=cwd, check=False
        )
    return done.returncode


def last_lines(log: Path, count: int) -> str:
    """The last lines of a file that are not empty."""
    with log.open('rb') as file:
        file.seek(max(0, log.stat().st_size - 65536))
        lines = file.read().decode(errors='replace').splitlines()
    return '\n'.join([line for line in lines if line.strip()][-count:])


def brief(output: str) -> str:
    """What pip, or any other command, is doing now, from the last lines that it printed.

    pip names no progress while it unpacks, which takes longest: the count of packages stands in.
    """
    lines = [line.strip() for line in output.splitlines() if not line.startswith('WARNING')]
    line = lines[-1] if lines else ''
    word, _, rest = line.partition(' ')
    if word == 'Downloading' and rest:
        file = rest.split()[0].rsplit('/', 1)[-1]
        return ' '.join(['downloading', file.split('-')[0], *rest.split()[1:]])
    if line.startswith('Installing collected packages:'):
        return f'unpacking {line.count(",") + 1} packages'
    return line


class Display:
    """Prints the steps of one run with the time since its start.

    Args:
        log: File that takes the commands and everything they print; emptied first.
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        self._start = time.monotonic()
        self._live = sys.stdout.isatty()
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text('')

    def note(self, text: str) -> None:
        """Print one finished line."""
        self._clear()
        print(f'{self._elapsed()}  {text}', flush=True)

    def run(self, title: str, command: Sequence[str], env: Mapping[str, str]) -> None:
        """Run a command as one step.

        Args:
            title: What the step does, as the user reads it.
            command: Program and arguments.
            env: Its whole environment.

        Raises:
            StepError: The command ended with another status than 0.
        """
        started = time.monotonic()
        done = Event()
        watcher = Thread(target=self._watch, args=(title, done), daemon=True)
        watcher.start()
        try:
            status = run_logged(command, self.log, env)
        finally:
            done.set()
            watcher.join()
        if status:
            tail = last_lines(self.log, 30)
            raise StepError(f'{title}: failed\n{tail}\n(all of it: {self.log})')
        self.note(f'{title}: {time.monotonic() - started:.0f} s')

    def _watch(self, title: str, done: Event) -> None:
        if not self._live:
            self.note(f'{title} ...')
        while not done.wait(0.5 if self._live else _HEARTBEAT_S):
            text = f'{self._elapsed()}  {title} ... {brief(last_lines(self.log, 20))}'
            if self._live:
                self._clear()
                print(text[: shutil.get_terminal_size().columns - 1], end='', flush=True)
            else:
                print(text[:110], flush=True)

    def _elapsed(self) -> str:
        seconds = int(time.monotonic() - self._start)
        return f'  {seconds // 60}:{seconds % 60:02d}'

    def _clear(self) -> None:
        if self._live:
            print('\r\033[K', end='')
