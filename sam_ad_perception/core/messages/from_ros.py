"""ROS messages to core records: what each sensor sends, and its camera info.

Messages are read by their field names alone, so those of rclpy and of rosbags serve alike, and no
ROS module is imported. What leaves is made in `core.messages.to_ros` and offered here too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.console.printable import escape_controls
from sam_ad_perception.core.events.packets import packet_from_message
from sam_ad_perception.core.findings import Finding
from sam_ad_perception.core.geometry.cameras import camera_model_from_info
from sam_ad_perception.core.geometry.lens import without_lens
from sam_ad_perception.core.messages.compressed_images import (
    compressed_to_array,
    decode_compressed_image,
)
from sam_ad_perception.core.messages.image_encodings import (
    ENCODINGS,
    ConversionError,
    EncodingError,
    to_depth,
    to_rgb,
    to_thermal,
    view_pixels,
)
from sam_ad_perception.core.messages.image_size import image_size_of
from sam_ad_perception.core.messages.packed_pixels import (
    chroma_of,
    packing_of,
    plain_encoding,
    unpack_chroma,
    unpack_pixels,
)
from sam_ad_perception.core.messages.point_cloud import PointField, decode_point_cloud
from sam_ad_perception.core.messages.to_ros import (
    LABELLED_POINT,
    MessageTypes,
    Transform,
    array_to_compressed,
    array_to_image,
    camera_to_message,
    cloud_to_message,
    diagnostic_to_message,
    label_info_to_message,
    labelled_points,
    make,
    make_header,
    ns_to_stamp,
    packet_to_message,
    status_to_message,
    transforms_to_message,
)
from sam_ad_perception.core.plausibility.pixels import ImageChecks
from sam_ad_perception.core.registry import resolve
from sam_ad_perception.core.sensor_kinds import POINTS
from sam_ad_perception.core.sensors import (
    CameraModel,
    LazyImage,
    Modality,
    PointCloud,
    SensorFrame,
)
from sam_ad_perception.core.status import STATUS_NAME, FrameStatus, from_key_values

__all__ = [
    'ENCODINGS',
    'LABELLED_POINT',
    'ConversionError',
    'EncodingError',
    'MessageTypes',
    'Transform',
    'array_to_compressed',
    'array_to_image',
    'camera_from_message',
    'camera_to_message',
    'cloud_from_message',
    'cloud_to_message',
    'compressed_to_array',
    'decode_image',
    'defer_image',
    'diagnostic_to_message',
    'frame_from_message',
    'frame_of',
    'image_to_array',
    'label_info_to_message',
    'labelled_points',
    'make',
    'make_header',
    'ns_to_stamp',
    'packet_from_message',
    'packet_to_message',
    'read_image',
    'stamp_of',
    'stamp_to_ns',
    'status_from_message',
    'status_to_message',
    'to_depth',
    'to_rgb',
    'to_thermal',
    'twist_from_message',
    'transforms_to_message',
]


def stamp_to_ns(stamp: Any) -> int:
    """Read a `builtin_interfaces/Time` as nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def stamp_of(message: Any) -> int:
    """Read the header stamp of a message, nanoseconds."""
    return stamp_to_ns(message.header.stamp)


def frame_of(message: Any) -> str:
    """Read the frame of a message; the leading slash of ROS 1 recordings is dropped.

    Control characters are escaped: the name is told in errors and in the status.
    """
    return escape_controls(str(message.header.frame_id).lstrip('/'))


def image_to_array(message: Any) -> tuple[NDArray[Any], str]:
    """See the pixels of a `sensor_msgs/Image`: without copying, unless their bits are packed.

    Args:
        message: The image.

    Returns:
        View of its data, (H, W) or (H, W, C), see `view_pixels`; and its encoding, as
        `sensor_msgs` names it. Pixels of 10 to 14 bits are unpacked to 16.

    Raises:
        ConversionError: A field is malformed; the message names it.
    """
    encoding = str(message.encoding)
    layout = (
        int(message.height),
        int(message.width),
        int(message.step),
        bool(message.is_bigendian),
    )
    if (packing := packing_of(encoding)) is not None:
        return unpack_pixels(message.data, packing, *layout), packing.encoding
    if order := chroma_of(encoding):
        return unpack_chroma(message.data, order, *layout[:3])
    encoding = plain_encoding(encoding)
    return view_pixels(message.data, encoding, *layout), encoding


def decode_image(message: Any, modality: Modality) -> NDArray[Any]:
    """Read an Image or CompressedImage as what a sensor measured.

    Args:
        message: `sensor_msgs/Image` or `sensor_msgs/CompressedImage`.
        modality: camera, thermal, depth, or event for a rendered picture.

    Returns:
        camera, event: (H, W, 3) uint8 RGB; thermal: (H, W) uint8, uint16 or float32; depth: (H, W)
        float32, metres, NaN where none. It may be a read-only view of the message.

    Raises:
        ConversionError: The message is malformed, or its encoding does not suit the sensor.
    """
    return read_image(message, modality)[0]


def read_image(
    message: Any, modality: Modality, checks: ImageChecks | None = None
) -> tuple[NDArray[Any], tuple[Finding, ...]]:
    """Read an image as `decode_image` does, and say what cannot be right about it.

    Args:
        message: `sensor_msgs/Image` or `sensor_msgs/CompressedImage`.
        modality: See `decode_image`.
        checks: Of this sensor (`core.plausibility.monitor`); None to take values as they come.

    Returns:
        The image, and what was found. One whose decoder warned is no image of the sensor: its
        finding takes it out.

    Raises:
        ConversionError: As `decode_image`.
    """
    convert, doubt = resolve(modality.record.decode or str), ''
    if hasattr(message, 'format'):
        pixels, encoding, doubt = decode_compressed_image(message)
    else:
        pixels, encoding = image_to_array(message)
    if checks is None:
        return convert(pixels, encoding), ()
    pixels, found = checks.check_in(pixels, encoding, doubt)
    image, more = checks.check_out(convert(pixels, encoding))
    return image, found + more


def defer_image(message: Any, modality: Modality, checks: ImageChecks | None = None) -> LazyImage:
    """Read of an image what costs nothing, and leave decoding and conversion for later.

    Args:
        message: `sensor_msgs/Image` or `sensor_msgs/CompressedImage`.
        modality: See `decode_image`.
        checks: See `read_image`; what they find is in `LazyImage.findings` after it was read.

    Returns:
        The image to be; it holds the message, or a view of it.

    Raises:
        ConversionError: The fields of the message contradict each other.
    """
    if not hasattr(message, 'format'):
        encoding = str(message.encoding)
        if packing_of(encoding) is None and not chroma_of(encoding):
            image_to_array(message)  # refuses what contradicts itself
    elif not len(message.data):
        raise ConversionError('CompressedImage.data is empty')

    def read() -> NDArray[Any]:
        pixels, image.findings = read_image(message, modality, checks)
        return pixels

    image = LazyImage(read, image_size_of(message))
    return image


def camera_from_message(message: Any, *, rectified: bool, own_centre: bool = False) -> CameraModel:
    """Read a `sensor_msgs/CameraInfo` as the geometry of the image beside it.

    Args:
        message: The camera info.
        rectified: Whether that image is rectified (`image_rect`) rather than raw.
        own_centre: See `camera_model_from_info`.

    Returns:
        The camera, in the frame of the message.

    Raises:
        ConversionError: Names the field that is unset, malformed or not supported.
    """
    roi = message.roi
    try:
        return camera_model_from_info(
            int(message.width),
            int(message.height),
            message.k,
            message.d,
            message.r,
            message.p,
            str(message.distortion_model),
            frame_of(message),
            rectified=rectified,
            own_centre=own_centre,
            binning=(int(message.binning_x), int(message.binning_y)),
            roi=(int(roi.x_offset), int(roi.y_offset), int(roi.height), int(roi.width)),
        )
    except ValueError as err:
        raise ConversionError(f'CameraInfo: {err}') from err


def cloud_from_message(message: Any) -> tuple[PointCloud, int]:
    """Read a `sensor_msgs/PointCloud2` of any layout.

    Args:
        message: The cloud.

    Returns:
        Its usable points in its own frame, and the number of points removed (NaN, inf, origin).

    Raises:
        ConversionError: The cloud lacks x, y or z, or contradicts itself.
    """
    fields = [PointField(f.name, f.offset, f.datatype, f.count) for f in message.fields]
    try:
        return decode_point_cloud(
            message.data,
            fields,
            int(message.point_step),
            int(message.row_step),
            int(message.height),
            int(message.width),
            bool(message.is_bigendian),
            stamp_of(message),
            bool(message.is_dense),
        )
    except ValueError as err:
        raise ConversionError(f'PointCloud2: {err}') from err


def twist_from_message(message: Any) -> tuple[int, NDArray[np.float64], NDArray[np.float64], str]:
    """Read how fast a body moves, in its own frame.

    Args:
        message: `nav_msgs/Odometry`, `geometry_msgs/TwistStamped` or `TwistWithCovarianceStamped`.

    Returns:
        Stamp in nanoseconds; (3,) linear velocity, m/s; (3,) angular velocity, rad/s; the frame
        of the body: of odometry the child frame, of a twist that of its header.
    """
    body = getattr(message, 'child_frame_id', None)
    twist = getattr(message.twist, 'twist', message.twist)
    v, w = twist.linear, twist.angular
    frame = frame_of(message) if body is None else str(body).lstrip('/')
    return stamp_of(message), np.array([v.x, v.y, v.z]), np.array([w.x, w.y, w.z]), frame


def frame_from_message(
    message: Any,
    modality: Modality,
    camera: CameraModel | None = None,
    checks: ImageChecks | None = None,
) -> SensorFrame:
    """Read a message of the camera, the thermal camera, a depth sensor, the lidar or a renderer.

    Args:
        message: Image, CompressedImage or PointCloud2.
        modality: Which sensor; `event` for a picture rendered from events, whose packets need
            a decoder.
        camera: Geometry of an image-like sensor, where known.
        checks: See `read_image`.

    Returns:
        The frame, with the stamp of the message, and what was found about it.

    Raises:
        ConversionError: The message is malformed, or does not suit the sensor.
    """
    if modality.record.form == POINTS:
        data, _ = cloud_from_message(message)
        return SensorFrame(modality, stamp_of(message), frame_of(message), data)
    pixels, found = read_image(message, modality, checks)
    stamp_ns, frame_id = stamp_of(message), frame_of(message)
    return SensorFrame(modality, stamp_ns, frame_id, pixels, camera, findings=found)


def status_from_message(message: Any) -> FrameStatus:
    """Read the `diagnostic_msgs/DiagnosticArray` of `semantic/status`.

    Args:
        message: What `status_to_message` made.

    Returns:
        The outcome of one reference frame.

    Raises:
        ConversionError: The array holds no such status, or one that does not parse.
    """
    for entry in message.status:
        if entry.name == STATUS_NAME:
            pairs = [(str(pair.key), str(pair.value)) for pair in entry.values]
            try:
                return from_key_values(stamp_of(message), pairs)
            except ValueError as err:
                raise ConversionError(str(err)) from err
    raise ConversionError(f'DiagnosticArray.status has no entry named {STATUS_NAME!r}')


def read_camera_info(message: Any, *, rectified: bool, own_centre: bool = False) -> CameraModel:
    """Read a camera info; one whose lens cannot be used still tells the size and the frame.

    Args:
        message: The camera info.
        rectified: Whether its image is rectified (`image_rect`) rather than raw.
        own_centre: See `camera_model_from_info`.

    Returns:
        The camera; `unknown_lens` names the field that is unset, malformed or not supported.

    Raises:
        ConversionError: It has no size, or a region of interest beyond it.
    """
    try:
        return camera_from_message(message, rectified=rectified, own_centre=own_centre)
    except ConversionError as err:
        if min(int(message.width), int(message.height)) <= 0:
            raise
        return without_lens(camera_from_message(_Sized(message), rectified=False), str(err))


class _Sized:
    """A camera info with its own size and a lens that can be read."""

    def __init__(self, message: Any) -> None:
        self.header, self.roi = message.header, message.roi
        self.width, self.height = message.width, message.height
        self.binning_x, self.binning_y = message.binning_x, message.binning_y
        self.k, self.r, self.p = np.eye(3).ravel(), np.eye(3).ravel(), np.eye(3, 4).ravel()
        self.d, self.distortion_model = np.zeros(0), 'plumb_bob'
