"""Records of sensor data and results: frames, bundles, camera models, masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.findings import Finding
from sam_ad_perception.core.sensor_kinds import Modality as Modality

EVENT_WINDOW_NS = 30_000_000
"""Length of the window of events that enters a bundle where nobody says otherwise, nanoseconds:
that of MUSES, and of the networks of the package."""
DISTORTION_COEFFICIENTS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {'plumb_bob': (0, 4, 5), 'rational_polynomial': (8, 12, 14), 'equidistant': (4,)}
)
"""Number of coefficients that each supported `sensor_msgs/CameraInfo` model may carry."""


@dataclass(frozen=True, eq=False)
class CameraModel:
    """Geometry of one image: size, intrinsics, lens distortion, frame.

    The model describes the image as it is: a rectified image has `D` empty and its own `K`
    (the left 3x3 block of `CameraInfo.P`), see `camera_model_from_info` in
    `core.geometry.cameras`.

    Attributes:
        width: Image width, pixels.
        height: Image height, pixels.
        K: (3, 3) float64, pinhole intrinsics, pixels.
        D: (n,) float64, distortion coefficients in the order of `sensor_msgs/CameraInfo`.
        distortion_model: `plumb_bob`, `rational_polynomial` or `equidistant`.
        frame_id: Optical frame (REP 103: x right, y down, z forward).
        unknown_lens: Why nothing can be projected into the image, in words; empty where it can.
            K is then of no meaning: zeros, as in the camera_info of an uncalibrated camera.
        offset: What is added to coordinates in `frame_id` to get those from this camera's own
            centre, metres: the fourth column of `CameraInfo.P` of a camera that is described in
            another one's frame. Transforms between sensors have it in them already.

    Raises:
        ValueError: A field has the wrong shape, a non-finite value, or an unknown model.
    """

    width: int
    height: int
    K: NDArray[np.float64]
    D: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    distortion_model: str = 'plumb_bob'
    frame_id: str = ''
    unknown_lens: str = ''
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if self.unknown_lens:
            object.__setattr__(self, 'K', np.zeros((3, 3)))
            object.__setattr__(self, 'D', np.zeros(0))
            object.__setattr__(self, 'distortion_model', 'plumb_bob')
        K = np.array(self.K, dtype=np.float64)
        D = np.array(self.D, dtype=np.float64).reshape(-1)
        if self.width <= 0 or self.height <= 0:
            raise ValueError(
                f'camera size must be positive, got width {self.width}, height {self.height}'
            )
        lens = K.shape == (3, 3) and bool(np.all(np.isfinite(K))) and min(K[0, 0], K[1, 1]) > 0
        if not lens and not self.unknown_lens:
            raise ValueError(
                f'camera K must be 3x3, finite, with positive focal lengths, got {K.tolist()}'
            )
        allowed = DISTORTION_COEFFICIENTS.get(self.distortion_model)
        if allowed is None:
            raise ValueError(
                f'distortion_model must be one of {sorted(DISTORTION_COEFFICIENTS)}, '
                f'got {self.distortion_model!r}'
            )
        if D.size not in allowed and D.size != 0:
            raise ValueError(f'{self.distortion_model} takes {allowed} coefficients, got {D.size}')
        if not np.all(np.isfinite(D)):
            raise ValueError(f'camera D must be finite, got {D.tolist()}')
        K.flags.writeable = False
        D.flags.writeable = False
        object.__setattr__(self, 'K', K)
        object.__setattr__(self, 'D', D)

    @property
    def size(self) -> tuple[int, int]:
        """Image size as `(H, W)`, pixels."""
        return self.height, self.width

    @property
    def is_distorted(self) -> bool:
        """Whether projection has to bend rays: any non-zero coefficient, or a fisheye model."""
        return self.distortion_model == 'equidistant' or bool(np.any(self.D))


@dataclass(frozen=True, eq=False)
class CloudSource:
    """The points of a message as they came, to be given on with all their fields.

    Attributes:
        data: (N * point_step,) uint8 or longer, the bytes, rows `row_step` apart.
        fields: Name, offset in bytes, datatype and count of each, as in `sensor_msgs/PointField`.
        point_step: Bytes from one point to the next.
        row_step: Bytes from one row to the next.
        height: Rows.
        width: Points per row.
        is_bigendian: Byte order of the fields.
        is_dense: Whether the message says that all its points are finite.
        kept: (M,) int64, for each point of the cloud its place among the N; None where all were
            kept, in their order.
    """

    data: NDArray[np.uint8]
    fields: tuple[tuple[str, int, int, int], ...]
    point_step: int
    row_step: int
    height: int
    width: int
    is_bigendian: bool = False
    is_dense: bool = False
    kept: NDArray[np.int64] | None = None


@dataclass(frozen=True, eq=False)
class PointCloud:
    """A lidar sweep in the lidar's own frame, with its non-finite points already removed.

    Attributes:
        points: (N, 3) float32, or float64 where they came so (a map frame), metres.
        intensity: (N,) float32 as the driver reports it, or None.
        time_offset_ns: (N,) int64, each point's time minus the frame's stamp, or None.
        time_note: How `time_offset_ns` was found, or why it is None, in one sentence.
        source: The points as they came, those that were removed included; None where the cloud
            was not read from a message.
        findings: What could not be right about it, and was mended or not.
    """

    points: NDArray[np.floating]
    intensity: NDArray[np.float32] | None = None
    time_offset_ns: NDArray[np.int64] | None = None
    time_note: str = ''
    source: CloudSource | None = None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, eq=False)
class PointMotion:
    """How a lidar moved while it swept, as seen from where it is at the reference time.

    Knots lie evenly in time; between two of them the lidar moves at a constant twist.

    Attributes:
        start_ns: Time of the first knot, nanoseconds.
        step_ns: From one knot to the next, nanoseconds; at least 1.
        T_reference: (K, 4, 4) float64, metres: maps points of the lidar's frame at a knot's time
            into the lidar's frame at the reference time.

    Raises:
        ValueError: There is no knot, or the step is not positive.
    """

    start_ns: int
    step_ns: int
    T_reference: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.T_reference.ndim != 3 or self.T_reference.shape[1:] != (4, 4):
            raise ValueError(f'T_reference must be (K, 4, 4), got {self.T_reference.shape}')
        if len(self.T_reference) == 0 or self.step_ns < 1:
            raise ValueError(
                f'motion needs a knot and a positive step, got {len(self.T_reference)} knots and '
                f'step_ns {self.step_ns}'
            )


@dataclass(frozen=True, eq=False)
class Events:
    """Brightness changes, ordered by time.

    Attributes:
        x: (N,) uint16, column u, pixels.
        y: (N,) uint16, row v, pixels.
        polarity: (N,) bool, True for ON (brighter).
        t_ns: (N,) int64, host clock, nanoseconds.
        size: Sensor size `(H, W)`, pixels.
        start_ns: Since when all events are here, of a window cut out of a stream; None where
            nobody cut.

    Raises:
        ValueError: The columns differ in length, or an event lies outside the sensor: compiled
            kernels index images by these columns.
    """

    x: NDArray[np.uint16]
    y: NDArray[np.uint16]
    polarity: NDArray[np.bool_]
    t_ns: NDArray[np.int64]
    size: tuple[int, int]
    start_ns: int | None = None

    def __post_init__(self) -> None:
        for name in ('x', 'y', 'polarity', 't_ns'):
            if not isinstance(getattr(self, name), np.ndarray):
                object.__setattr__(self, name, np.asarray(getattr(self, name)))
        lengths = {len(each) for each in (self.x, self.y, self.polarity, self.t_ns)}
        if len(lengths) > 1:
            raise ValueError(f'events: columns must have one length, got {sorted(lengths)}')
        if len(self.x) == 0:
            return
        for name, column, limit in (('x', self.x, self.size[1]), ('y', self.y, self.size[0])):
            low, high = int(column.min()), int(column.max())
            if low < 0 or high >= limit:
                raise ValueError(
                    f'events: {name} must be in 0..{limit - 1} for a sensor of '
                    f'{self.size[1]}x{self.size[0]} pixels, got {low} to {high}'
                )


class LazyImage:
    """An image that is read where it is first used, and once: decoding takes its time.

    Not thread-safe: the thread that uses the frame reads it.

    Attributes:
        size: Its `(H, W)` where that is known before it is read, pixels.
        findings: What could not be right about it; whoever reads it fills this in.

    Args:
        read: Reads it; raises ValueError where it cannot be read. Let go of after its only call.
        size: Its `(H, W)` where that is known before, pixels.
    """

    def __init__(
        self, read: Callable[[], NDArray[np.generic]], size: tuple[int, int] | None = None
    ) -> None:
        self.size = size
        self.findings: tuple[Finding, ...] = ()
        self._read: Callable[[], NDArray[np.generic]] | None = read
        self._image: NDArray[np.generic] | None = None
        self._refusal = ''

    def get(self) -> NDArray[np.generic]:
        """Read it, or give what was read.

        Returns:
            The image.

        Raises:
            ValueError: It cannot be read; the same on every call.
        """
        read, self._read = self._read, None
        if read is not None:
            try:
                self._image = read()
                self.size = (self._image.shape[0], self._image.shape[1])
            except ValueError as err:
                self._refusal = str(err)
        if self._image is None:
            raise ValueError(self._refusal)
        return self._image


SensorData = NDArray[np.generic] | PointCloud | Events | LazyImage


@dataclass(frozen=True, eq=False)
class SensorFrame:
    """One measurement of one sensor.

    Attributes:
        modality: Which sensor.
        stamp_ns: Its time after the configured clock offset was subtracted, nanoseconds.
        frame_id: Frame of the measurement.
        data: camera (H, W, 3) uint8 RGB; thermal (H, W) uint8 or uint16 counts, or
            float32 temperatures; depth (H, W) float32 metres with NaN; event `Events`, or
            (H, W, 3) uint8 RGB where a renderer drew them; lidar `PointCloud`. An image may be
            `LazyImage` until it is used, see `core.images.lazy_image`.
        camera: Geometry of an image-like sensor; None for lidar, or while unknown.
        motion: How a lidar moved around the bundle's reference time; None where that is unknown,
            and for the other sensors.
        measured_ns: Mean of the times at which was measured what the camera sees of it,
            nanoseconds; None for its stamp.
        findings: What could not be right about it, but for what its data tells itself.
    """

    modality: Modality
    stamp_ns: int
    frame_id: str
    data: SensorData
    camera: CameraModel | None = None
    motion: PointMotion | None = None
    measured_ns: int | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def time_ns(self) -> int:
        """When it was measured, nanoseconds."""
        return self.stamp_ns if self.measured_ns is None else self.measured_ns


@dataclass(frozen=True, eq=False)
class SensorBundle:
    """All that the sensors saw around one reference time. A missing sensor is data: a reason.

    Attributes:
        stamp_ns: Stamp of the reference frame; the mask carries it.
        reference: Sensor that leads this bundle.
        camera: The view in which the mask is made, also while the camera itself is down.
        frames: The sensors present.
        missing: For each sensor that is not present, why, in words.
        T_camera: For each frame but the camera's, (4, 4) float64 `T_camera_x`, metres, that maps
            points of the sensor's frame into the frame of `camera`, both at `stamp_ns`.
        notes: For sensors that are present with a shortcoming, which, in words (a sweep that
            could not be deskewed, for example).
        required: Sensors without which no mask is wanted, whatever the network could do.
    """

    stamp_ns: int
    reference: Modality
    camera: CameraModel
    frames: Mapping[Modality, SensorFrame]
    missing: Mapping[Modality, str] = field(default_factory=dict)
    T_camera: Mapping[Modality, NDArray[np.float64]] = field(default_factory=dict)
    notes: Mapping[Modality, str] = field(default_factory=dict)
    required: tuple[Modality, ...] = ()

    @property
    def time_error_ns(self) -> dict[Modality, int]:
        """When each frame was measured minus the reference's stamp, nanoseconds."""
        return {m: frame.time_ns - self.stamp_ns for m, frame in self.frames.items()}


def remove_sensors(bundle: SensorBundle, reasons: Mapping[Modality, str]) -> SensorBundle:
    """Take sensors out of a bundle: what is made of it then is as if they had never been there.

    Args:
        bundle: The bundle.
        reasons: For each sensor to take out, why, in words; those that are not there gain the
            reason.

    Returns:
        A bundle in the same view; its other sensors are untouched.
    """
    return replace(
        bundle,
        frames={m: frame for m, frame in bundle.frames.items() if m not in reasons},
        missing={**bundle.missing, **reasons},
        notes={m: note for m, note in bundle.notes.items() if m not in reasons},
    )


def keep_sensors(bundle: SensorBundle, kept: Iterable[str], reason: str) -> SensorBundle:
    """Take all sensors out of a bundle but some; see `remove_sensors`.

    Args:
        bundle: The bundle.
        kept: Names of the sensors that stay, where they are there.
        reason: Why the others are missing, in words.

    Returns:
        A bundle in the same view.
    """
    names = set(kept)
    return remove_sensors(bundle, {m: reason for m in bundle.frames if m not in names})


@dataclass(frozen=True, eq=False)
class ProjectedPoints:
    """The points of a sweep that may lie in a view; all that do are among them.

    Attributes:
        uv: (M, 2) float64, pixels, NaN where a point has none, not limited to the image.
        z: (M,) float64, metres along the optical axis.
        index: (M,) int32, rows of the sweep, ascending.
        xyz: (M, 3) float64, metres, the camera's frame.
        cloud: The sweep.
    """

    uv: NDArray[np.float64]
    z: NDArray[np.float64]
    index: NDArray[np.int32]
    xyz: NDArray[np.float64]
    cloud: PointCloud


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The result for one bundle, in the view and at the size of its camera.

    Attributes:
        stamp_ns: The bundle's stamp.
        camera: The view.
        mask: (H, W) uint8 label ids; 255 is unlabeled.
        confidence: (H, W) uint8, probability of the chosen label times 255; (0, 0) where nobody
            wanted it.
        expert: Zoo key of the network that made the mask.
        reason: Why this network and these sensors, in one sentence.
        used: Sensors that entered the network.
        missing: Sensors that were not there, not healthy or not to be shown in this view, each
            with the reason; not those that the network does without.
        depth: (H, W) float32, metres, NaN where unknown (REP 118); None without lidar, and where
            nobody wanted it.
        depth_measured: (H, W) bool, True where a lidar point fell, False where `depth` was filled
            or is unknown; None likewise.
        projected: The points that `depth` shows; those that the camera cannot see have no pixel.
            None likewise.
        gate: Weight of each used sensor in the network's gate, mean over levels; sums to 1.
            Empty where the network has no gate.
        time_error_ns: Stamp of each used frame minus the reference's, nanoseconds.
        latency_s: Seconds spent per stage: `health`, `align`, `network`, `mask`, `depth`. On a GPU
            `network` includes the upload and what is drawn there.
        notes: Of the bundle.
        on_ground: How many lidar returns lie on pixels called road or sidewalk, and how many of
            them stand above the ground; None where that was not looked at.
        unlike_training: How unlike the frames of its training this one looks to the network: above
            1 it lies further out than 95 of 100 like those; None where nothing is known of them.
    """

    stamp_ns: int
    camera: CameraModel
    mask: NDArray[np.uint8]
    confidence: NDArray[np.uint8]
    expert: str
    used: tuple[Modality, ...]
    reason: str = ''
    missing: Mapping[Modality, str] = field(default_factory=dict)
    depth: NDArray[np.float32] | None = None
    depth_measured: NDArray[np.bool_] | None = None
    projected: ProjectedPoints | None = None
    gate: Mapping[Modality, float] = field(default_factory=dict)
    time_error_ns: Mapping[Modality, int] = field(default_factory=dict)
    latency_s: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[Modality, str] = field(default_factory=dict)
    on_ground: tuple[int, int] | None = None
    unlike_training: float | None = None
