"""What is measured: networks, means over several sizes, vehicles that route, perfect masks."""

from __future__ import annotations

import dataclasses
import math
import time
import zlib
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sam_ad_perception.core.geometry.cameras import scale_camera
from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.sensors import SensorBundle, keep_sensors
from sam_ad_perception.modeling.encoders.specs import STRIDE
from sam_ad_perception.modeling.inference.expert_network import ExpertNetwork
from sam_ad_perception.modeling.inference.masks import mask_from_logits
from sam_ad_perception.modeling.inference.segmenter import SegmentationError, Segmenter
from sam_ad_perception.modeling.inputs.camera_view import looks_at_others
from sam_ad_perception.modeling.inputs.preparation import PreparedBundle
from training.evaluation.encodings import share_encodings, share_runs
from training.evaluation.failure_protocol import is_of_protocol, spoil_input
from training.evaluation.measurement import Answer, Setting
from training.evaluation.noise import add_noise
from training.frames.frame import LabelledFrame, keep_inputs, prepare_frame

REMOVED = 'removed'
TIMED_FRAMES = 5
"""Latency is the median over so many frames, of the settings that the router reads."""


class NetworkSystem:
    """One network on exactly the sensors it is given.

    The first frames are timed; from then on the network does not run again on what it has seen,
    nor encode a sensor again that it encoded for another set of sensors, where it allows that.

    Args:
        expert: The network.
        space: The data set's classes.

    Raises:
        ValueError: No table relates the network's classes to the data set's.
    """

    def __init__(self, expert: ExpertNetwork, space: LabelSpace) -> None:
        self.key = expert.spec.key
        self.expert = expert
        self.encodings = share_encodings(expert.network)
        self.runs = share_runs(expert)
        self._prepared: tuple[LabelledFrame, dict[tuple[str, ...], PreparedBundle]] | None = None
        expert.set_label_space(space)

    def answer(self, frame: LabelledFrame, setting: Setting, number: int) -> Answer | None:
        """Segment one frame, see `System`; `number` seeds the noise."""
        expert, spec, camera = self.expert, self.expert.spec, frame.bundle.camera
        prepared = self._prepare(frame, setting.subset)
        if not prepared.inputs or not set(spec.required) <= set(prepared.inputs):
            return None
        if setting.noise:
            prepared = self._spoil(prepared, setting.noise, number)
        timed = setting.plain and number < TIMED_FRAMES
        self.runs.enabled = not timed
        if self.encodings is not None:
            self.encodings.enabled = not timed
        clock = _clock(expert.device)
        start = clock()
        _, logits = expert.run([prepared])
        seconds = clock() - start if timed else None
        temperature = expert.temperature(tuple(prepared.inputs))
        mask, confidence = expert.decode(logits[0], camera, temperature=temperature)
        small, _ = expert.decode(logits[0], scale_camera(camera, spec.input_size))
        return Answer(mask, confidence, small, seconds)

    def _spoil(self, prepared: PreparedBundle, noise: str, number: int) -> PreparedBundle:
        """Lay noise on some inputs, other on each sensor and frame, the same on each call."""
        names, kind = noise.split(':')
        inputs = dict(prepared.inputs)
        for sensor in names.split('+'):
            if sensor not in inputs:
                continue
            rng = np.random.default_rng([number, zlib.crc32(f'{sensor}:{kind}'.encode())])
            if is_of_protocol(noise):
                inputs[sensor] = spoil_input(inputs[sensor], sensor, kind, rng)
            else:
                form = self.expert.spec.inputs[sensor]
                inputs[sensor] = add_noise(inputs[sensor], form, kind, rng)
        return dataclasses.replace(prepared, inputs=inputs)

    def _prepare(self, frame: LabelledFrame, subset: Sequence[str]) -> PreparedBundle:
        """The inputs of some sensors, made once: the others do not even place them in the view."""
        spec = self.expert.spec
        if self._prepared is None or self._prepared[0] is not frame:
            self._prepared = frame, {}
        known = self._prepared[1]
        # Where no input is made with the help of another sensor, one preparation serves all sets.
        together = not any(map(looks_at_others, spec.inputs.values()))
        names = frame.inputs if together else tuple(n for n in frame.inputs if n in subset)
        if names not in known:
            kept = keep_inputs(frame, names, REMOVED)
            known[names] = prepare_frame(kept, spec.inputs, spec.input_size)
        prepared = known[names]
        inputs = {name: image for name, image in prepared.inputs.items() if name in subset}
        return dataclasses.replace(prepared, inputs=inputs)


class SeveralScales:
    """One network that sees each frame at several sizes, and mirrored: the mean of its answers.

    Many published figures are of such a test-time augmentation; a vehicle does not drive so.
    Probabilities are brought to the grid of the largest size and averaged; their confidence is not
    calibrated, for the network's temperature was fitted on one size. A network that takes
    one size only cannot be measured so.

    Args:
        expert: The network.
        space: The data set's classes.
        scales: Of its input size; sizes are rounded up to what its encoder takes.
        mirror: Whether it also sees each frame mirrored, its answer mirrored back.

    Raises:
        ValueError: No scale, or one that is not positive; or no table relates the network's
            classes to the data set's.
    """

    def __init__(
        self, expert: ExpertNetwork, space: LabelSpace, scales: Sequence[float], *, mirror: bool
    ) -> None:
        if not scales or min(scales) <= 0:
            raise ValueError(f'scales must be one or more above 0, got {list(scales)}')
        height, width = expert.spec.input_size
        self.sizes = [(_round_up(scale * height), _round_up(scale * width)) for scale in scales]
        words = f'{len(scales)} scales' if len(scales) > 1 else 'one scale'
        self.key = f'{expert.spec.key}, {words}{", mirrored" if mirror else ""}'
        self.expert = expert
        self.mirror = mirror
        expert.set_label_space(space)

    def answer(self, frame: LabelledFrame, setting: Setting, number: int) -> Answer | None:
        """Segment one frame, see `System`; only sensors may be left out."""
        spec, camera = self.expert.spec, frame.bundle.camera
        kept = keep_inputs(frame, [n for n in frame.inputs if n in setting.subset], REMOVED)
        grids: list[Tensor] = []
        for size in self.sizes:
            prepared = prepare_frame(kept, spec.inputs, size)
            if not prepared.inputs or not set(spec.required) <= set(prepared.inputs):
                return None
            grids.append(self.expert.run([prepared])[1].softmax(1))
            if self.mirror:
                turned = {name: image[..., ::-1].copy() for name, image in prepared.inputs.items()}
                other = self.expert.run([dataclasses.replace(prepared, inputs=turned)])[1]
                grids.append(other.softmax(1).flip(-1))
        logits = mean_of_grids(grids).log()
        mask, confidence = self.expert.decode(logits[0], camera)
        small, _ = self.expert.decode(logits[0], scale_camera(camera, spec.input_size))
        return Answer(mask, confidence, small, None)


class GridUpperBound:
    """What the best possible network would reach with its grid: the truth, seen through it.

    Each cell of the grid holds the share of each class in it, and the mask is made of that as of
    logits.

    Args:
        key: Its name in the tables.
        grid: Rows and columns of the network's logits.
        classes: Number of classes.
    """

    def __init__(self, key: str, grid: tuple[int, int], classes: int) -> None:
        self.key = key
        self.grid = grid
        self.classes = classes

    def answer(self, frame: LabelledFrame, setting: Setting, number: int) -> Answer:
        """Show the truth through the grid, see `System`; the setting does not matter."""
        known = frame.labels[..., None] == np.arange(self.classes, dtype=np.uint8)
        shares = [
            cv2.resize(each.astype(np.float32), self.grid[::-1], interpolation=cv2.INTER_AREA)
            for each in np.moveaxis(known, 2, 0)
        ]
        mask, confidence = mask_from_logits(np.stack(shares), frame.bundle.camera)
        return Answer(mask, confidence, None, None)


class VehicleSystem:
    """Health checks, router and networks together, as a vehicle runs them.

    Frames of a data set do not follow each other: each is the first one of its drive, unless
    `before` says what its sensors saw until then.

    Args:
        key: Its name in the tables.
        segmenter: What the vehicle runs.
        space: The data set's classes.

    Attributes:
        before: What the health checks see before each frame, from now on.

    Raises:
        ValueError: No table relates a network's classes to the data set's.
    """

    def __init__(self, key: str, segmenter: Segmenter, space: LabelSpace) -> None:
        self.key = key
        self.segmenter = segmenter
        self.before: Sequence[SensorBundle] = ()
        for expert in segmenter.experts.values():
            expert.set_label_space(space)

    def answer(self, frame: LabelledFrame, setting: Setting, number: int) -> Answer | None:
        """Segment one frame, see `System`."""
        self.segmenter.reset()
        for bundle in self.before:
            self.segmenter.health.check(keep_sensors(bundle, setting.subset, REMOVED))
        bundle = keep_sensors(frame.bundle, setting.subset, REMOVED)
        (result,) = self.segmenter.segment_each([bundle], [False])  # without its depth image
        if isinstance(result, SegmentationError):
            return None
        return Answer(result.mask, result.confidence, None, None)


def mean_of_grids(grids: Sequence[Tensor]) -> Tensor:
    """Average probabilities on the finest of their grids.

    Args:
        grids: Each (1, classes, h, w), sum 1 over the classes, of any h and w.

    Returns:
        (1, classes, h, w) of the largest h and w, above 0.
    """
    size = max(tuple(grid.shape[-2:]) for grid in grids)
    fine = [F.interpolate(grid, size=size, mode='bilinear') for grid in grids]
    return torch.stack(fine).mean(0).clamp_min(torch.finfo(torch.float32).tiny)


def _round_up(side: float) -> int:
    return max(1, math.ceil(side / STRIDE)) * STRIDE


def _clock(device: torch.device):  # type: ignore[no-untyped-def]
    """CPU time where one thread does all the work, which other programs do not disturb."""
    alone = device.type == 'cpu' and torch.get_num_threads() == 1
    return time.thread_time if alone else time.perf_counter
