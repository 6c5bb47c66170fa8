"""Looks now and then, in a thread of its own, whether the camera's images are read rightly."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.findings import Finding
from sam_ad_perception.core.plausibility.lens_reading import (
    MIN_SHIFT_PX,
    SeenImages,
    look_at_image,
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
    """

    rectified: CameraModel
    raw: CameraModel
    taken: bool


class ReadingWatch:
    """Gathers evidence from a few bundles, until it is enough. Of one thread, but for its own.

    Attributes:
        finding: What was found so far: the images are not of the reading that is taken; or None.
    """

    def __init__(self) -> None:
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
            self._reset()

    def look(self, bundle: SensorBundle) -> Finding | None:
        """Let a bundle be looked at, where it is time to.

        Args:
            bundle: Its images are read.

        Returns:
            What was found in those before it.
        """
        readings = self._readings
        if readings is None:
            return None
        self._bundles += 1
        if self._looks < _LOOKS and self._bundles >= self._next and not self._is_busy():
            frame = bundle.frames.get(Modality.CAMERA)
            if frame is not None and isinstance(frame.data, np.ndarray):
                self._next = int(_MORE * self._bundles) + 1
                self._thread = threading.Thread(
                    target=self._work, args=(readings, bundle, frame.data), daemon=True
                )
                self._thread.start()
        return self.finding

    def finish(self) -> None:
        """Wait for a look that has begun."""
        if self._thread is not None:
            self._thread.join()

    def _reset(self) -> None:
        self._evidence, self._seen = no_evidence(), SeenImages()
        self._bundles = self._looks = 0
        self._next = _FIRST_LOOK
        self.finding: Finding | None = None

    def _is_busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _work(self, readings: LensReadings, bundle: SensorBundle, image: NDArray[Any]) -> None:
        """Look at one image, and say what all of them tell."""
        if (image.shape[0], image.shape[1]) != readings.raw.size or not self._seen.is_new(image):
            return
        if readings_differ(readings.rectified, readings.raw) < MIN_SHIFT_PX:
            self._looks = _LOOKS
            return
        points, T = None, bundle.T_camera.get(Modality.LIDAR)
        lidar = bundle.frames.get(Modality.LIDAR)
        if lidar is not None and isinstance(lidar.data, PointCloud):
            points = lidar.data.points
        evidence = look_at_image(image, readings.rectified, readings.raw, points, T)
        with self._lock:
            if readings is not self._readings:
                return
            self._looks += 1
            self._evidence = self._evidence.joined(evidence)
            if abs(self._evidence.total) > _ENOUGH:
                self._looks = _LOOKS
            told = self._evidence.rectified
            self.finding = None
            if told is not None and told != readings.taken:
                word = 'rectified' if readings.taken else 'raw'
                remedy = f'inputs.camera.rectified: {str(told).lower()}'
                self.finding = wrong_reading(
                    self._evidence, f'and read as {word}', remedy, out=True
                )
