"""Check of one sensor of a recording from the part of it that was read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.bags.checking.sampled_reader import Part
from sam_ad_perception.bags.topics import Candidate
from sam_ad_perception.core.clock_offsets.stamp_timing import StampTiming, measure_timing
from sam_ad_perception.core.geometry.cameras import project_points
from sam_ad_perception.core.lidar.deskew import deskew_points
from sam_ad_perception.core.sensors import (
    CameraModel,
    LazyImage,
    Modality,
    PointCloud,
    SensorBundle,
    SensorFrame,
)
from sam_ad_perception.core.synchronization.measured_times import describe_sweep_times

_PROJECTED = 12  # bundles of which the sweep is projected: enough for a median


@dataclass(frozen=True)
class SensorCheck:
    """One sensor of a recording.

    Attributes:
        modality: Which.
        topic: Its topic; '' where only its camera_info is there.
        reason: Why this topic, or what is remarkable of it; '' for a plain one.
        others: Topics that could have been it, with the reason why they are not.
        info: Topic of its camera_info; '' for none.
        count: Messages of the whole recording.
        coverage: Time from its first to its last message, as a share of the recording.
        timing: Rhythm of the parts that were read; None where nothing came.
        clock_s: How far its stamps run ahead of the camera's if both took equally long to
            arrive, seconds; NaN where that is not known.
        stamp: What its stamps tell.
        seen: Bundles that were looked at; of those, where a camera is recorded, only such that
            have its image tell of the other sensors.
        used: Those in which it took part.
        missing: Why it took no part, and how often.
        notes: Shortcomings with which it took part, and how often.
        extrinsics: Its place to the camera in words; '' where it is not known.
        rectified: Whether its image is taken as rectified; None for sensors without lens.
        lens: Its lens in words; '' where that is not known.
        bits: Its pixels or fields in words.
        points: The most points that a sweep held, those without place left out; -1 where no sweep
            was looked at.
        in_view: Share of its points that fall into the camera's image, of a camera the share of
            the sweep's points that fall into its own; NaN where not known.
    """

    modality: Modality
    topic: str
    reason: str = ''
    others: tuple[tuple[str, str], ...] = ()
    info: str = ''
    count: int = 0
    coverage: float = 0.0
    timing: StampTiming | None = None
    clock_s: float = math.nan
    stamp: str = ''
    seen: int = 0
    used: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    extrinsics: str = ''
    rectified: bool | None = None
    lens: str = ''
    bits: str = ''
    points: int = -1
    in_view: float = math.nan


class SensorLook:
    """Gathers what bundles show of one sensor.

    Args:
        known: What the choice of topics tells of it.
        candidate: Its topic, as it was chosen; None where only its camera_info is there.
        beside: Only bundles that have this sensor tell whether the other one takes part; None
            for all.
    """

    def __init__(
        self, known: SensorCheck, candidate: Candidate | None, beside: Modality | None = None
    ) -> None:
        self._known = known
        self._beside = beside
        self._sample = candidate.sample if candidate else None
        self._seen = self._used = 0
        self._missing: Counter[str] = Counter()
        self._notes: Counter[str] = Counter()
        self._extrinsics = self._lens = self._stamp = ''
        self._top = 0
        self._points = -1
        self._shares: list[float] = []

    @property
    def topic(self) -> str:
        """Topic of the sensor."""
        return self._known.topic

    def add(self, bundle: SensorBundle) -> None:
        """Take a bundle into account."""
        modality = self._known.modality
        if self._beside not in (None, *bundle.frames):
            return
        if modality not in bundle.frames and modality not in bundle.missing:
            return  # the parameters switch it off
        self._seen += 1
        if modality in bundle.missing:
            self._missing[bundle.missing[modality]] += 1
        if modality in bundle.notes:
            self._notes[bundle.notes[modality]] += 1
        frame = bundle.frames.get(modality)
        if modality is Modality.CAMERA:
            self._lens = self._lens or describe_lens(bundle.camera)
        if frame is None:
            return
        self._used += 1
        if frame.camera is not None and modality is not Modality.CAMERA:
            self._lens = self._lens or describe_lens(frame.camera)
        T = bundle.T_camera.get(modality)
        if T is not None and not self._extrinsics:
            x, y, z = T[:3, 3]
            self._extrinsics = f'({x:.2f}, {y:.2f}, {z:.2f}) m from the camera'
        self._look_at_data(frame, bundle)

    def result(self, timing: StampTiming | None, delay_s: float) -> SensorCheck:
        """Sum up.

        Args:
            timing: Rhythm of the sensor, None where nothing came.
            delay_s: Of the camera's stamps to their arrival, seconds; NaN without camera.
        """
        return replace(
            self._known,
            timing=timing,
            clock_s=delay_s - timing.delay_s if timing is not None else math.nan,
            stamp=self._stamp,
            seen=self._seen,
            used=self._used,
            missing=self._missing,
            notes=self._notes,
            extrinsics=self._extrinsics,
            lens=self._lens,
            bits=self._bits(),
            points=self._points,
            in_view=float(np.median(self._shares)) if self._shares else math.nan,
        )

    def _look_at_data(self, frame: SensorFrame, bundle: SensorBundle) -> None:
        """Look at the measurement itself."""
        data = frame.data
        if isinstance(data, PointCloud):
            if not self._stamp:
                self._stamp = describe_sweep_times(data, 'auto')
            finite = int(np.isfinite(data.points).all(axis=1).sum())
            self._points = max(self._points, finite)
            if len(self._shares) < _PROJECTED and not bundle.camera.unknown_lens:
                _, _, inside = project_sweep(frame, bundle, bundle.camera, np.eye(4))
                self._shares.append(float(inside.sum()) / max(1, finite))
            return
        image = data.get() if isinstance(data, LazyImage) else data
        if isinstance(image, np.ndarray) and image.dtype.itemsize == 2 and image.size:
            self._top = max(self._top, int(image.max()))

    def _bits(self) -> str:
        """Pixels, or fields, in words."""
        if self._sample is None:
            return ''
        if self._sample.fields:
            return f'fields {", ".join(self._sample.fields)}'
        words = [self._sample.encoding]
        if self._sample.size is not None:
            words.append('{1} x {0}'.format(*self._sample.size))
        if self._top:
            words.append(f'values up to {self._top}: {self._top.bit_length()} of 16 bits')
        return ', '.join(filter(None, words))


def project_sweep(
    lidar: SensorFrame,
    bundle: SensorBundle,
    camera: CameraModel,
    T_view_camera: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Project a bundle's sweep into the image of one of its sensors.

    Args:
        lidar: The sweep, of the bundle.
        bundle: Tells where the sensors are.
        camera: The image.
        T_view_camera: (4, 4) from the bundle's camera into the frame of `camera`, metres.

    Returns:
        (N, 2) float64 pixels (NaN where there is none), (N,) float64 depth in metres, and (N,)
        whether the point lies in the image.
    """
    T = T_view_camera @ bundle.T_camera[lidar.modality]
    uv, z = project_points(camera, deskew_points(lidar, T))
    with np.errstate(invalid='ignore'):
        inside = (z > 0) & np.all(
            (uv >= -0.5) & (uv < [camera.width - 0.5, camera.height - 0.5]), axis=1
        )
    return uv, z, inside


def describe_lens(camera: CameraModel) -> str:
    """Tell of a lens in words: model, field of view, focal length in pixels."""
    if camera.unknown_lens:
        return ''
    focal = camera.K[0, 0]
    model = f'{camera.distortion_model}, {len(camera.D)} coefficients' if len(camera.D) else ''
    wide = 2 * math.degrees(math.atan(0.5 * camera.width / focal)) if focal > 0 else math.nan
    view = '' if camera.distortion_model == 'equidistant' else f', {wide:.0f} deg wide'
    return f'{model or "no distortion"}, focal length {focal:.0f} px{view}'


def time_parts(
    stamps_ns: NDArray[np.int64], received_ns: NDArray[np.int64], parts: Sequence[Part]
) -> StampTiming | None:
    """Measure the rhythm of a sensor of which only parts were read.

    Args:
        stamps_ns: (N,) int64 stamps in the order of arrival, nanoseconds.
        received_ns: (N,) int64 times of arrival, nanoseconds.
        parts: What was read.

    Returns:
        Counts are sums over the parts, the others medians; None where nothing came.
    """
    found = []
    for part in parts:
        inside = (received_ns >= part.start_ns) & (received_ns < part.stop_ns)
        if inside.any():
            found.append(measure_timing(stamps_ns[inside], received_ns[inside]))
    if not found:
        return None

    def middle(name: str) -> float:
        values = [v for each in found if math.isfinite(v := getattr(each, name))]
        return float(np.median(values)) if values else math.nan

    return StampTiming(
        sum(each.count for each in found),
        middle('period_s'),
        middle('jitter_s'),
        sum(each.missing for each in found),
        sum(each.disordered for each in found),
        middle('delay_s'),
        middle('delay_spread_s'),
    )
