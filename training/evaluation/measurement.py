"""mIoU of networks with every set of sensors, by condition, fault and noise.

Each frame is made once and shown to all networks in all settings. A network is asked as
`Segmenter` asks it (prepare, run, decode), so figures are those of a vehicle; where the vehicle's
health checks and router are to count too, the frame goes through `Segmenter` itself.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress, TaskID

from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.metrics import ConfusionMatrix
from sam_ad_perception.core.stability.mask_stability import MaskStability
from sam_ad_perception.core.stability.picture_motion import Motion
from training.augmentation.sensor_faults import spoil_bundle
from training.evaluation.confidence import ConfidenceHistogram
from training.evaluation.sequence import SequenceFollower
from training.frames.benchmark_protocol import BenchmarkProtocol
from training.frames.frame import LabelledFrame


@dataclass(frozen=True)
class Setting:
    """What is done to the sensors before the network sees them.

    Attributes:
        subset: Sensors that are kept.
        fault: `sensor:kind` as of `simulation.faults.effects`; empty for none.
        noise: `sensor:kind` as of `training.evaluation.noise`; empty for none.
        checked: Whether the vehicle's health checks come before the network.
    """

    subset: tuple[str, ...]
    fault: str = ''
    noise: str = ''
    checked: bool = False

    @property
    def plain(self) -> bool:
        """Whether only sensors were left out."""
        return not (self.fault or self.noise or self.checked)


@dataclass(frozen=True, eq=False)
class Answer:
    """What a system made of a frame.

    Attributes:
        mask: (H, W) uint8 ids at the camera's size.
        confidence: (H, W) uint8, probability times 255.
        small: (h, w) uint8 ids at the network's input size; None where it was not asked for.
        seconds: Time of the network; None where it was not taken.
    """

    mask: NDArray[np.uint8]
    confidence: NDArray[np.uint8]
    small: NDArray[np.uint8] | None
    seconds: float | None


class System(Protocol):
    """What is measured."""

    key: str

    def answer(self, frame: LabelledFrame, setting: Setting, number: int) -> Answer | None:
        """Segment one frame; None where there is no mask."""


@dataclass(eq=False)
class Score:
    """What a system reached in one setting.

    A frame without a mask counts as one where every pixel is wrong.

    Attributes:
        native: Pixels at the camera's size.
        small: Pixels at the network's input size.
        conditions: Pixels at the camera's size, by condition.
        cases: The same by the data set's sensor-failure case.
        confidence: Of the pixels with a mask, how sure it was and whether it was right.
        condition_confidence: The same by condition.
        seconds: Time of the network for each frame where it was taken.
        frames: Frames shown.
        masks: Frames with a mask.
        stability: Of masks that follow each other; None until two did.
        last: Mask of the frame before; None where it had none.
        protocol: How the data set's benchmark measures; None where it has none.
        official: Pixels as its evaluator counts them: of all frames under an empty name, and by
            condition and case. Empty where the network answers at another size.
    """

    native: ConfusionMatrix
    small: ConfusionMatrix
    conditions: dict[str, ConfusionMatrix] = field(default_factory=dict)
    cases: dict[str, ConfusionMatrix] = field(default_factory=dict)
    confidence: ConfidenceHistogram = field(default_factory=ConfidenceHistogram)
    condition_confidence: dict[str, ConfidenceHistogram] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    frames: int = 0
    masks: int = 0
    stability: MaskStability | None = None
    last: NDArray[np.uint8] | None = None
    protocol: BenchmarkProtocol | None = None
    official: dict[str, ConfusionMatrix] = field(default_factory=dict)

    def official_miou(self, group: str = '') -> float:
        """Mean IoU as the data set's benchmark has it.

        Args:
            group: A condition or case; empty for all frames.

        Returns:
            Percent; NaN where it was not measured so.
        """
        if self.protocol is None or group not in self.official:
            return float('nan')
        return 100 * self.protocol.mean_iou(self.official[group])

    @property
    def miou(self) -> float:
        """Mean IoU at the camera's size, percent."""
        return 100 * self.native.miou()

    @property
    def latency_ms(self) -> float | None:
        """Median time of the network for one frame, milliseconds; None without a mask."""
        return 1000 * float(np.median(self.seconds)) if self.seconds else None

    def merge(self, other: Score) -> None:
        """Add what other frames gave.

        Args:
            other: Of the same system in the same setting.
        """
        self.native.merge(other.native)
        self.small.merge(other.small)
        pairs = (
            (self.conditions, other.conditions),
            (self.cases, other.cases),
            (self.official, other.official),
        )
        for groups, more in pairs:
            for name, matrix in more.items():
                fresh = ConfusionMatrix(self.native.num_classes, self.native.ignore_id)
                groups.setdefault(name, fresh).merge(matrix)
        self.confidence.merge(other.confidence)
        for name, histogram in other.condition_confidence.items():
            self.condition_confidence.setdefault(name, ConfidenceHistogram()).merge(histogram)
        self.seconds += other.seconds
        self.frames += other.frames
        self.masks += other.masks
        if other.stability is not None:
            self._steady().merge(other.stability)

    def add(
        self, sample: LabelledFrame, answer: Answer | None, motion: Motion | None = None
    ) -> None:
        """Count one frame.

        Args:
            sample: The frame and its truth.
            answer: What the system made of it; None for no mask.
            motion: Of the picture since the frame that was added before; None where they do not
                follow each other.
        """
        ignore = self.native.ignore_id
        self.frames += 1
        mask = np.full_like(sample.labels, ignore) if answer is None else answer.mask
        frame = ConfusionMatrix(self.native.num_classes, ignore)
        frame.update(mask, sample.labels)
        self.native.merge(frame)
        for name, groups in ((sample.condition, self.conditions), (sample.case, self.cases)):
            if name:
                fresh = ConfusionMatrix(self.native.num_classes, ignore)
                groups.setdefault(name, fresh).merge(frame)
        self._add_official(sample, answer)
        before, self.last = self.last, None if answer is None else answer.mask
        if answer is None:
            return
        if motion is not None and before is not None:
            self._steady().update(before, answer.mask, motion)
        self.masks += 1
        if answer.seconds is not None:
            self.seconds.append(answer.seconds)
        known = sample.labels != ignore
        right = answer.mask == sample.labels
        sure = ConfidenceHistogram()
        sure.update(answer.confidence[known], right[known])
        self.confidence.merge(sure)
        if sample.condition:
            group = self.condition_confidence.setdefault(sample.condition, ConfidenceHistogram())
            group.merge(sure)
        if answer.small is not None:
            self.small.update(answer.small, shrink_labels(sample.labels, answer.small.shape))

    def _add_official(self, sample: LabelledFrame, answer: Answer | None) -> None:
        """Count a frame as the benchmark does."""
        protocol = self.protocol
        if protocol is None:
            return
        truth = sample.labels
        if protocol.size is not None:
            truth = shrink_labels(truth, protocol.size)
            mask = None if answer is None else answer.small
            if answer is not None and (mask is None or mask.shape != protocol.size):
                return
        else:
            mask = None if answer is None else answer.mask
        if mask is None:
            mask = np.full_like(truth, self.native.ignore_id)
        frame = ConfusionMatrix(self.native.num_classes, self.native.ignore_id)
        frame.update(protocol.crop(mask), protocol.crop(truth))
        for name in dict.fromkeys(('', sample.condition, sample.case)):
            fresh = ConfusionMatrix(self.native.num_classes, self.native.ignore_id)
            self.official.setdefault(name, fresh).merge(frame)

    def _steady(self) -> MaskStability:
        if self.stability is None:
            self.stability = MaskStability(self.native.num_classes, self.native.ignore_id)
        return self.stability


def shrink_labels(labels: NDArray[np.uint8], size: tuple[int, ...]) -> NDArray[np.uint8]:
    """Sample a label image at another size: the label at the middle of each new pixel.

    Args:
        labels: (H, W) uint8.
        size: Size `(h, w)` wanted, pixels.

    Returns:
        (h, w) uint8.
    """
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.intp)
        for new, old in zip(size, labels.shape, strict=True)
    )
    return np.asarray(labels[np.ix_(rows, columns)])


def measure(
    samples: Iterable[LabelledFrame],
    plan: Sequence[tuple[System, Sequence[Setting]]],
    space: LabelSpace,
    bar: Progress,
    task: TaskID,
    follower: SequenceFollower | None = None,
    protocol: BenchmarkProtocol | None = None,
) -> list[dict[Setting, Score]]:
    """Show every frame to every system in each of its settings.

    Args:
        samples: The frames; read once.
        plan: What is measured, and in which settings.
        space: The data set's classes.
        bar: Where progress is shown.
        task: Its row there, advanced by one per frame.
        follower: Where given, the frames follow each other, and masks are compared in time.
        protocol: Of the data set's benchmark; None where it has none.

    Returns:
        For each system of the plan, what it reached in each setting.
    """
    scores = empty_scores(plan, space, protocol)
    for number, sample in enumerate(samples):
        motion = follower.follow(sample) if follower is not None else None
        measure_frame(sample, number, plan, scores, motion)
        bar.advance(task)
    return scores


def measure_frame(
    sample: LabelledFrame,
    number: int,
    plan: Sequence[tuple[System, Sequence[Setting]]],
    scores: Sequence[dict[Setting, Score]],
    motion: Motion | None = None,
) -> None:
    """Show one frame to every system in each of its settings.

    Args:
        sample: The frame.
        number: Its number, which seeds noise and faults; the first ones are timed.
        plan: What is measured, and in which settings.
        scores: See `empty_scores`; the frame is added.
        motion: Since the frame that was shown before, see `Score.add`.
    """
    spoilt = {'': sample}
    for (system, _), reached in zip(plan, scores, strict=True):
        for setting, score in reached.items():
            if setting.fault not in spoilt:
                rng = np.random.default_rng([number, zlib.crc32(setting.fault.encode())])
                bundle = spoil_bundle(sample.bundle, setting.fault, rng)
                spoilt[setting.fault] = dataclasses.replace(sample, bundle=bundle)
            score.add(sample, system.answer(spoilt[setting.fault], setting, number), motion)


def empty_scores(
    plan: Sequence[tuple[System, Sequence[Setting]]],
    space: LabelSpace,
    protocol: BenchmarkProtocol | None = None,
) -> list[dict[Setting, Score]]:
    """Scores before the first frame.

    Args:
        plan: What is measured, and in which settings.
        space: The data set's classes.
        protocol: As of `measure`.

    Returns:
        For each system of the plan, one score per setting.
    """
    return [{setting: _empty(space, protocol) for setting in settings} for _, settings in plan]


def total_matrix(matrices: Iterable[ConfusionMatrix], space: LabelSpace) -> ConfusionMatrix:
    """Add confusion matrices of one label space.

    Args:
        matrices: Any number.
        space: The classes.

    Returns:
        A new matrix.
    """
    total = ConfusionMatrix(len(space), space.ignore_id)
    for matrix in matrices:
        total.merge(matrix)
    return total


def mean_miou(scores: Iterable[Score], condition: str = '') -> float:
    """Mean of the mIoU of several subsets: the papers' figure for robustness.

    Args:
        scores: What a network reached with each subset.
        condition: Of this condition only; empty for all frames.

    Returns:
        Percent.
    """
    if condition:
        return float(np.mean([100 * score.conditions[condition].miou() for score in scores]))
    return float(np.mean([score.miou for score in scores]))


def _empty(space: LabelSpace, protocol: BenchmarkProtocol | None) -> Score:
    return Score(total_matrix((), space), total_matrix((), space), protocol=protocol)
