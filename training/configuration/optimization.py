"""Configuration of a run: loss, optimizer, schedule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

OPTIMIZERS = ('adamw', 'adam')
DECAYS = ('cosine', 'poly', 'warmup_poly', 'constant')
DISTANCES = ('l1', 'l2')


@dataclass(frozen=True)
class OptimizerConfig:
    """Optimizer and learning rate: linear warm-up, then a decay over the run.

    Attributes:
        lr: Highest learning rate.
        name: `adamw`, or `adam`, whose weight decay goes through the moments.
        betas: Decay of the moments.
        weight_decay: Of parameters with two or more dimensions.
        decay_vectors: Whether vectors (biases, norms) are decayed too.
        decay: `cosine`, `poly` for (1 - progress) ** power, `constant`, or `warmup_poly`: the
            same power, but of the progress since the end of the warm-up (`WarmupPolyLR` of the
            code lineage of MLE-SAM), so that the warm-up ends at the full rate.
        power: See `decay`.
        tail: Of `warmup_poly`: share of the run after its end at which the rate would be 0; the
            lineage plans one epoch more than it runs.
        per_epoch: Whether the rate changes between epochs only.
        warmup_steps: Steps of the warm-up.
        warmup_epochs: Epochs of the warm-up; the longer of the two counts.
        warmup_start: Share of the rate at which the warm-up starts; 0 starts at its first step.
        final_lr_ratio: Last learning rate relative to `lr`.
        lowest_lr: No rate falls below this.
        clip: Largest gradient norm; 0 for any.
        ema: Decay of the running average of the weights, which is what is exported; 0 exports
            the weights themselves.
        scales: Share of `lr` that parameters get whose names match a pattern (as of the shell).

    Raises:
        ValueError: A field is out of range.
    """

    lr: float = 1e-3
    name: str = 'adamw'
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.02
    decay_vectors: bool = False
    decay: str = 'cosine'
    power: float = 0.9
    tail: float = 0.0
    per_epoch: bool = False
    warmup_steps: int = 100
    warmup_epochs: float = 0.0
    warmup_start: float = 0.0
    final_lr_ratio: float = 0.01
    lowest_lr: float = 0.0
    clip: float = 1.0
    ema: float = 0.995
    scales: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in OPTIMIZERS:
            raise ValueError(f'name must be one of {OPTIMIZERS}, got {self.name!r}')
        if self.decay not in DECAYS:
            raise ValueError(f'decay must be one of {DECAYS}, got {self.decay!r}')
        if not (self.lr > 0 and self.clip >= 0 and 0 <= self.ema < 1):
            raise ValueError(
                f'lr must be positive, clip 0 or more and ema in [0, 1), got {self.lr}, '
                f'{self.clip} and {self.ema}'
            )


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss terms; 0 leaves one out.

    MLE-SAM (Eq. 13-14) has `main` and `aux` at 1; AD-SAM's code has `focal` 0.4, `dice` 0.3,
    `lovasz` 0.2 and `surface` 0.1.

    Attributes:
        main: OHEM cross-entropy of the main head.
        aux: OHEM cross-entropy of the auxiliary head.
        aux_stride: It is taken on every n-th of the pixels that the main head is taken on.
        dice: Dice of the main head over the classes present.
        dice_all: Whether it is the mean over all classes of each image instead, as in AD-SAM's
            code: whatever goes to a class that is absent is fully wrong then.
        focal: Focal loss of the main head.
        lovasz: Lovász-Softmax of the main head.
        surface: Its error weighed by the distance to the nearest border, label pixels.
        ohem_threshold: Pixels whose true class has at least this probability are easy.
        stride: The loss is taken on every n-th label pixel, at an offset drawn per step.
        reconstruction: Distance of FusionSAM's reconstructions, where its autoencoders are
            trained.
        distance: `l1` or `l2` of them; the paper's is `l2` (Eq. 5).
        commitment: Distance of features and codes, likewise.

    Raises:
        ValueError: A field is out of range.
    """

    main: float = 1.0
    aux: float = 1.0
    aux_stride: int = 1
    dice: float = 0.0
    dice_all: bool = False
    focal: float = 0.0
    lovasz: float = 0.0
    surface: float = 0.0
    ohem_threshold: float = 0.7
    stride: int = 1
    reconstruction: float = 1.0
    distance: str = 'l1'
    commitment: float = 0.25

    def __post_init__(self) -> None:
        if min(self.stride, self.aux_stride) < 1:
            raise ValueError(
                f'stride and aux_stride must be 1 or more, got {self.stride}, {self.aux_stride}'
            )
        if self.distance not in DISTANCES:
            raise ValueError(f'distance must be one of {DISTANCES}, got {self.distance!r}')


@dataclass(frozen=True)
class ScheduleConfig:
    """How long the run is.

    Attributes:
        steps: Most optimizer steps.
        epochs: Most passes over the frames; where given, it takes the place of `steps`.
        max_minutes: Most wall time of training, over all resumptions; 0 for no limit.
        batch_size: Frames per forward pass; they share a subset.
        replicas: Batches per step, each with its own subset, run at once in as many threads that
            share the weights; in one process only. With `threads: 1` this keeps as many CPU
            cores busy without the waiting that operators split over threads bring.
        accumulate: How often each process and replica takes a batch per step, one after the
            other; gradients are averaged over all of them.
        sizes: Smaller network input sizes `(H, W)` of the first parts of the run, pixels, which
            learn more per minute; the last part is at the entry's own size.
        size_ends: Share of the run at which each of `sizes` ends, rising.
        checkpoint_minutes: Time between checkpoints.

    Raises:
        ValueError: A field is out of range.
    """

    steps: int = 10000
    epochs: float = 0.0
    max_minutes: float = 0.0
    batch_size: int = 4
    replicas: int = 1
    accumulate: int = 1
    sizes: tuple[tuple[int, int], ...] = ()
    size_ends: tuple[float, ...] = ()
    checkpoint_minutes: float = 3.0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size, self.replicas, self.accumulate) < 1:
            raise ValueError('steps, batch_size, replicas and accumulate must be 1 or more')
        if len(self.sizes) != len(self.size_ends) or list(self.size_ends) != sorted(
            self.size_ends
        ):
            raise ValueError(
                f'size_ends must give one rising share per size, got {self.size_ends} '
                f'for {len(self.sizes)} sizes'
            )

    def input_size(self, progress: float) -> tuple[int, int] | None:
        """Network input size at a share of the run; None for the entry's own."""
        for size, end in zip(self.sizes, self.size_ends, strict=True):
            if progress < end:
                return size
        return None
