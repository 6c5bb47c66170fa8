"""Checks in a thread of its own whether camera images are rectified as they are read."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.findings import Finding
from sam_ad_perception.core.plausibility.lens_reading import (
    MIN_SHIFT_PX,
    SeenImages,
    look_at_image,
    named_rectified,
    no_evidence,
    readings_differ,
    wrong_reading,
)
from sam_ad_perception.core.sensors import CameraModel, Modality, PointCloud, SensorBundle

_LOOKS, _ENOUGH = 8, 6.0
_FIRST_LOOK, _MORE = 3, 1.6
"""Bundles before the first look, and by what factor the way to the next one grows."""


@dataclass(frozen=True)
class LensReadings:
    """The two geometries that a camera_info tells.

    Attributes:
        rectified: By P.
        raw: By K and D.
        taken: Whether the images are read as rectified.
        settled: Whether somebody said so; else the images decide.
        topic: Name of the topic of the images, which may say otherwise.
    """

    rectified: CameraModel
    raw: CameraModel
    taken: bool
    settled: bool = True
    topic: str = ''


class ReadingWatch:
    """Gathers evidence from a few bundles, until it is enough. Of one thread, but for its own.

    Where nobody said which reading is right, the first sure evidence decides, once and for all:
    whoever reads the camera_infos follows `decided`.

    Attributes:
        finding: What was found so far: the images are not of the reading that is taken; or None.
        decided: Whether the images are rectified, where they decide and did; else None.
        at_once: Whether a look is taken within `look`, so that a replay repeats exactly.
    """

    def __init__(self) -> None:
        self.decided: bool | None = None
        self.at_once = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._readings: LensReadings | None = None
        self._next = _FIRST_LOOK
        self._reset()

    def set_readings(self, readings: LensReadings) -> None:
        """Take another camera_info; where it says the same, evidence stays.

        Args:
            readings: What it tells.
        """
        a, b = readings.rectified, readings.raw
        alike = not b.D.any() and np.allclose(a.K, b.K, rtol=1e-6)
        with self._lock:
            self._readings = None if alike or a.unknown_lens or b.unknown_lens else readings
            if readings.settled:
                self._reset()  # else evidence stays: it is of the driver, not of its numbers

    def look(self, bundle: SensorBundle) -> Finding | None:
        """Let a bundle be looked at, where it is time to.

        Args:
            bundle: Its images are read.

        Returns:
            What was found so far; it takes out what is projected by the wrong one.
        """
        readings = self._readings
        if readings is None:
            return None
        self._bundles += 1
        if self._looks < _LOOKS and self._bundles >= self._next and not self._is_busy():
            frame = bundle.frames.get(Modality.VIEW)
            if frame is not None and isinstance(frame.data, np.ndarray):
                self._next = int(_MORE * self._bundles) + 1
                self._begin(readings, bundle, frame.data)
        found = self.finding
        if found is None or self.decided is None or self.decided == readings.taken:
            return found
        wrong = readings.raw if self.decided else readings.rectified
        return replace(found, out=_is_like(bundle.camera, wrong))

    @property
    def words(self) -> str:
        """What the images tell so far, in words."""
        return self._evidence.words

    def finish(self) -> None:
        """Wait for a look that has begun."""
        if self._thread is not None:
            self._thread.join()

    def _reset(self) -> None:
        self._evidence, self._seen = no_evidence(), SeenImages()
        self._bundles = self._looks = 0
        self._next = _FIRST_LOOK
        self.finding: Finding | None = None

    def _begin(self, readings: LensReadings, bundle: SensorBundle, image: NDArray[Any]) -> None:
        """Look at one image, in a thread of its own unless it is to be known at once."""
        if self.at_once and not readings.settled:
            self._work(readings, bundle, image)
            return
        self._thread = threading.Thread(
            target=self._work, args=(readings, bundle, image), daemon=True
        )
        self._thread.start()

    def _is_busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _work(self, readings: LensReadings, bundle: SensorBundle, image: NDArray[Any]) -> None:
        """Look at one image, and say what all of them tell."""
        if (image.shape[0], image.shape[1]) != readings.raw.size or not self._seen.is_new(image):
            return
        if readings_differ(readings.rectified, readings.raw) < MIN_SHIFT_PX:
            self._looks = _LOOKS
            return
        points, T = None, bundle.T_camera.get(Modality.RANGING)
        lidar = bundle.frames.get(Modality.RANGING)
        if lidar is not None and isinstance(lidar.data, PointCloud):
            points = lidar.data.points
        evidence = look_at_image(image, readings.rectified, readings.raw, points, T)
        with self._lock:
            if readings.settled and readings is not self._readings:
                return
            self._looks += 1
            self._evidence = self._evidence.joined(evidence)
            if abs(self._evidence.total) > _ENOUGH:
                self._looks = _LOOKS
            self._tell(readings)

    def _tell(self, readings: LensReadings) -> None:
        """Say what the evidence says of the reading that is taken, and let it decide."""
        told = self._evidence.rectified
        self.finding = None
        if told is None:
            return
        if readings.settled:
            if told != readings.taken:
                remedy = f'camera.rectified: {str(told).lower()}'
                self.finding = wrong_reading(
                    self._evidence, f'and read as {_word(readings.taken)}', remedy, out=True
                )
            return
        self._looks = _LOOKS
        named = named_rectified(readings.topic) if readings.topic else readings.taken
        if told != named:
            self.finding = wrong_reading(
                self._evidence,
                f'its topic {readings.topic} is named as of {_word(named)} images',
                f'read as {_word(told)} from here on; camera.rectified: {str(named).lower()} '
                'overrules',
            )
        self.decided = told


def _word(rectified: bool) -> str:
    return 'rectified' if rectified else 'raw'


def _is_like(camera: CameraModel, other: CameraModel) -> bool:
    """Whether two views see every direction at the same pixel."""
    alike = camera.D.any() == other.D.any() and camera.size == other.size
    return bool(alike and np.allclose(camera.K, other.K, rtol=1e-9))
