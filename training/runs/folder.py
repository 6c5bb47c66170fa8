"""The folder of a run: facts, figures and pictures beside its weights."""

from __future__ import annotations

import csv
import io
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from rich.console import Console

from training.configuration.run import TrainConfig, to_mapping
from training.networks.checkpoint import save_atomically
from training.runs.loggers import RunLogger, open_loggers

ROOT = Path(__file__).resolve().parents[2]


def code_version(root: Path = ROOT) -> str:
    """Say which code runs.

    Args:
        root: A checkout.

    Returns:
        What `git describe` calls it, with `-dirty` where files were changed; `unknown` where
        there is no git or no repository.
    """
    command = ['git', 'describe', '--always', '--dirty', '--tags']
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return 'unknown'
    return done.stdout.strip()


class _Events(Protocol):
    """What this file needs of TensorBoard's writer."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None: ...

    def add_image(
        self, tag: str, img_tensor: NDArray[np.uint8], global_step: int, *, dataformats: str
    ) -> None: ...

    def flush(self) -> None: ...


class RunFolder:
    """The files of a run that a person reads. Processes that follow write none.

    `config.yaml` is the resolved configuration, `version.txt` has a line per start,
    `metrics.csv` and `validation.csv` a row per measurement, `pictures/` what the network sees
    and says, `events.*` the same for TensorBoard where that is installed. The configuration's
    `loggers` are told, too.

    Args:
        config: The experiment.
        console: Where it is said that TensorBoard is not installed.
        step: Steps that the run has made: what a run that was cut off logged later goes.
        leads: Whether this process writes.

    Raises:
        OSError: The folder cannot be written.
        ValueError: A logger of the configuration is not there.
    """

    def __init__(
        self, config: TrainConfig, console: Console, step: int, *, leads: bool = True
    ) -> None:
        self.path = Path(config.output_dir)
        self.leads = leads
        self._console = console
        self._events: _Events | None = None
        self._loggers: tuple[RunLogger, ...] = ()
        if not leads:
            return
        settings = dict(to_mapping(config))
        self._loggers = open_loggers(config.loggers, self.path, settings)
        text = yaml.safe_dump(settings, sort_keys=False)
        save_atomically(text.encode(), self.path / 'config.yaml')
        now = datetime.now(UTC).isoformat(timespec='seconds')
        with (self.path / 'version.txt').open('a') as file:
            file.write(
                f'{now} step {step} code {code_version()} torch {torch.__version__} '
                f'python {platform.python_version()} precision {config.machine.precision}\n'
            )
        for name in ('metrics.csv', 'validation.csv'):
            _cut_rows(self.path / name, step)
        self._events = _open_events(self.path, step, console)

    def log(self, name: str, values: Mapping[str, float], step: int) -> None:
        """Add a row of figures.

        Args:
            name: `metrics` or `validation`.
            values: Column to figure, the same columns each time.
            step: Steps made.

        Raises:
            OSError: The disk is full, or the like.
        """
        if not self.leads:
            return
        path = self.path / f'{name}.csv'
        rows = [] if path.exists() else [['step', *values]]
        rows.append([str(step), *(f'{value:.9g}' for value in values.values())])
        with path.open('a', newline='') as file:
            file.write(_as_csv(rows))
        if self._events is not None:
            for column, value in values.items():
                self._events.add_scalar(f'{name}/{column}', value, step)
        self._tell(lambda logger: logger.log(name, values, step))

    def draw(self, name: str, images: Sequence[NDArray[np.uint8]], step: int) -> None:
        """Write images of one size side by side.

        Args:
            name: What is shown.
            images: (H, W, 3) uint8 RGB each.
            step: Steps made.

        Raises:
            OSError: The file cannot be written.
        """
        if not self.leads:
            return
        row = np.concatenate(images, axis=1)
        whole, content = cv2.imencode('.png', cv2.cvtColor(row, cv2.COLOR_RGB2BGR))
        assert whole
        save_atomically(content.tobytes(), self.path / 'pictures' / f'{name}_{step:08d}.png')
        if self._events is not None:
            self._events.add_image(name, row, step, dataformats='HWC')
        self._tell(lambda logger: logger.draw(name, row, step))

    def flush(self) -> None:
        """Hand what TensorBoard buffers to the disk."""
        if self._events is not None:
            self._events.flush()

    def close(self) -> None:
        """End what is told of this start of the run."""
        self.flush()
        self._tell(lambda logger: logger.close())
        self._loggers = ()

    def _tell(self, what: Callable[[RunLogger], None]) -> None:
        """Do something with each logger; one whose server is gone does not end the run."""
        for logger in self._loggers:
            try:
                what(logger)
            except Exception as error:  # theirs
                self._loggers = tuple(each for each in self._loggers if each is not logger)
                self._console.print(
                    f'{type(logger).__name__} gets no more of this run: {error}', markup=False
                )


def _as_csv(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows(rows)
    return text.getvalue()


def _cut_rows(path: Path, step: int) -> None:
    """Remove the rows that were logged after a step, and one that was cut off in writing."""
    if not path.exists():
        return
    with path.open(newline='') as file:
        header, *rows = csv.reader(file)
    kept = [row for row in rows if len(row) == len(header) and int(row[0]) <= step]
    save_atomically(_as_csv([header, *kept]).encode(), path)


def _open_events(path: Path, step: int, console: Console) -> _Events | None:
    try:
        from torch.utils.tensorboard import SummaryWriter  # TensorBoard is not a requirement
    except ImportError:
        console.print('no event files for TensorBoard, which is not installed; see metrics.csv')
        return None
    writer: Any = SummaryWriter(str(path), purge_step=step + 1)
    events: _Events = writer
    return events
