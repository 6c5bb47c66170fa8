"""Configuration of a run: its machine and its outputs, nothing that changes what it learns."""

from __future__ import annotations

from dataclasses import dataclass

ACCELERATORS = ('auto', 'cpu', 'cuda', 'mps')
PRECISIONS = ('32', 'bf16-mixed', '16-mixed')
LOGGERS = ('wandb', 'mlflow')
"""Who is told of a run beside its folder."""


@dataclass(frozen=True)
class MachineConfig:
    """Where a run computes. Under `torchrun`, its processes and machines are taken instead.

    Attributes:
        accelerator: `cpu`, `cuda`, `mps`, or `auto` for the best there is.
        devices: Processes on this machine, one per device; on a CPU they share the cores.
        nodes: Machines.
        precision: `32`, or `bf16-mixed` or `16-mixed`, where activations are half as large;
            a CPU knows bf16 only.
        checkpoint_blocks: Recompute the encoder's blocks in the backward pass instead of keeping
            their activations: less memory, a third more time.
        features: Folder where the output of a frozen SAM encoder (AD-SAM's) is kept, one file per
            image, so that it is computed once; for runs whose augmentation mirrors frames and
            does nothing else. Empty computes it in each step.
        readers: Processes that read frames; 0 reads in a thread, which does where frames are
            rendered already.

    Raises:
        ValueError: A field is out of range.
    """

    accelerator: str = 'auto'
    devices: int = 1
    nodes: int = 1
    precision: str = '32'
    checkpoint_blocks: bool = False
    features: str = ''
    readers: int = 0

    def __post_init__(self) -> None:
        if self.accelerator not in ACCELERATORS:
            raise ValueError(f'accelerator must be one of {ACCELERATORS}, got {self.accelerator}')
        if self.precision not in PRECISIONS:
            raise ValueError(f'precision must be one of {PRECISIONS}, got {self.precision!r}')
        if min(self.devices, self.nodes, self.readers + 1) < 1:
            raise ValueError('devices and nodes must be 1 or more, readers 0 or more')


@dataclass(frozen=True)
class ResumeConfig:
    """What may differ where a run goes on.

    Attributes:
        allow: Names of settings (such as `optimizer.name`) whose new value counts although a run
            is refused where they change.
    """

    allow: tuple[str, ...] = ()


@dataclass(frozen=True)
class ValidationConfig:
    """How often a run is measured and shown, on frames that it does not learn from.

    Attributes:
        steps: Optimizer steps between measurements; 0 for none.
        epochs: The same in epochs; the more frequent of the two counts.
        frames: Most frames that are measured.
        pictures: How many of them are drawn: input, truth, prediction.
        best: How many of the best weights are kept, beside the last.
        seeds: Simulated drives that are measured, first and one after the last; apart from those
            of the training. Published datasets are measured on `split`.
        split: Of a published dataset or recordings.

    Raises:
        ValueError: A field is out of range.
    """

    steps: int = 0
    epochs: float = 0.0
    frames: int = 100
    pictures: int = 4
    best: int = 3
    seeds: tuple[int, int] = (900, 925)
    split: str = 'val'

    def __post_init__(self) -> None:
        if min(self.steps, self.epochs, self.pictures, self.frames - 1, self.best - 1) < 0:
            raise ValueError('steps, epochs and pictures must be 0 or more, frames and best 1')

    def interval(self, epoch_steps: float) -> int:
        """Optimizer steps between two measurements.

        Args:
            epoch_steps: Length of an epoch, steps.

        Returns:
            Steps; 0 where nothing is measured.
        """
        wanted = [self.steps, round(self.epochs * epoch_steps) if self.epochs else 0]
        given = [max(steps, 1) for steps in wanted if steps]
        return min(given, default=0)
