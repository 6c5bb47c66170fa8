"""Sensor noise for the few frames of content that go round.

No live sensor sends the same bytes twice: without noise the content is what a stuck buffer sends,
and health says so. Noise is drawn once and laid on each frame from another place, which costs one
addition a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import Events

IMAGE_SIGMA = 1.5
"""Of camera images, grey levels; of thermal ones, counts of 10 mK."""
RANGE_SIGMA_M = 0.01
MOST_SIGMAS = 4
SHIFT = 4
"""Events move so many pixels at most, as a vehicle shakes: else the same pixels always fire."""
_SPARE = 4096
AXES = 'xyz'


class Noise:
    """Lays noise on the frames of one sensor.

    Args:
        frames: All that it shows, of one kind; their sizes may differ.
        seed: Of the noise.
    """

    def __init__(self, frames: Sequence[Any], seed: int = 0) -> None:
        frame = frames[0]
        self._random = np.random.default_rng(seed)
        if isinstance(frame, Events):
            self._drawn = np.zeros(0)
            return
        count = max(each.size for each in frames) + _SPARE
        if frame.dtype.names:
            drawn = self._random.normal(0, RANGE_SIGMA_M, count)
            self._drawn = drawn.astype(np.float32)
        else:
            drawn = self._random.normal(0, IMAGE_SIGMA, count)
            most = MOST_SIGMAS * IMAGE_SIGMA
            self._drawn = drawn.clip(-most, most).round().astype(np.int16).astype(frame.dtype)

    def apply(self, frame: Any) -> Any:
        """Lay noise on a frame.

        Args:
            frame: (H, W, ...) unsigned integers, within the range that `leave_room` leaves;
                structured points with `x`, `y`, `z` in metres; or `Events`.

        Returns:
            A new frame of the same kind.
        """
        if isinstance(frame, Events):
            return self._shake(frame)
        changed = frame.copy()
        self.add(changed)
        return changed

    def add(self, frame: NDArray[Any]) -> None:
        """Lay noise on an image or on points in place; see `apply`."""
        begin = int(self._random.integers(_SPARE))
        if frame.dtype.names:
            for axis in AXES:
                frame[axis] += self._drawn[begin : begin + len(frame)]
        else:  # negative noise is a large unsigned number: the sum comes round
            frame += self._drawn[begin : begin + frame.size].reshape(frame.shape)

    def _shake(self, events: Events) -> Events:
        height, width = events.size
        u, v = self._random.integers(-SHIFT, SHIFT + 1, 2)
        return Events(
            ((events.x.astype(np.int32) + u) % width).astype(events.x.dtype),
            ((events.y.astype(np.int32) + v) % height).astype(events.y.dtype),
            events.polarity,
            events.t_ns,
            events.size,
        )


def leave_room(image: NDArray[Any]) -> NDArray[Any]:
    """Keep an image of unsigned integers so far from the ends of its range that noise fits."""
    room = int(MOST_SIGMAS * IMAGE_SIGMA) + 1
    return image.clip(room, np.iinfo(image.dtype).max - room)
