"""Messages to core records and back: the one door between ROS and the core.

Messages are read by their field names alone, so those of rclpy and of rosbags serve alike, and no
ROS module is imported. What leaves is made in `core.messages` and offered here too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.event_packets import packet_from_message
from sam_ad_perception.core.geometry import camera_model_from_info
from sam_ad_perception.core.image_encodings import (
    ENCODINGS,
    ConversionError,
    EncodingError,
    to_depth,
    to_rgb,
    to_thermal,
    view_pixels,
)
from sam_ad_perception.core.messages import (
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
from sam_ad_perception.core.point_cloud import PointField, decode_point_cloud
from sam_ad_perception.core.sensors import (
    CameraModel,
    Deferred,
    Modality,
    PointCloud,
    SensorFrame,
)
from sam_ad_perception.core.status import STATUS_NAME, FrameStatus, from_key_values
from sam_ad_perception.core.transforms import make_transform, quaternion_to_matrix

__all__ = [
    'ENCODINGS',
    'LABELLED_POINT',
    'ConversionError',
    'EncodingError',
    'ImageFallback',
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
    'stamp_of',
    'stamp_to_ns',
    'status_from_message',
    'status_to_message',
    'to_depth',
    'to_rgb',
    'to_thermal',
    'transforms_from_message',
    'twist_from_message',
    'transforms_to_message',
]

ImageFallback = Callable[[Any, str], NDArray[Any]]
"""Reads an image of an unknown encoding: message and wanted encoding to array (cv_bridge)."""

_DECODERS: dict[Modality, tuple[Callable[[NDArray[Any], str], NDArray[Any]], str]] = {
    Modality.CAMERA: (to_rgb, 'rgb8'),
    Modality.THERMAL: (to_thermal, 'mono16'),
    Modality.EVENT: (to_rgb, 'rgb8'),
    Modality.DEPTH: (to_depth, '32FC1'),
}


def stamp_to_ns(stamp: Any) -> int:
    """Read a `builtin_interfaces/Time` as nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def stamp_of(message: Any) -> int:
    """Read the header stamp of a message, nanoseconds."""
    return stamp_to_ns(message.header.stamp)


def frame_of(message: Any) -> str:
    """Read the frame of a message; the leading slash of ROS 1 recordings is dropped."""
    return str(message.header.frame_id).lstrip('/')


def image_to_array(message: Any) -> tuple[NDArray[Any], str]:
    """See the pixels of a `sensor_msgs/Image`, without copying.

    Args:
        message: The image.

    Returns:
        View of its data, (H, W) or (H, W, C), see `view_pixels`; and its encoding.

    Raises:
        ConversionError: A field is malformed; the message names it.
    """
    encoding = str(message.encoding)
    pixels = view_pixels(
        message.data,
        encoding,
        int(message.height),
        int(message.width),
        int(message.step),
        bool(message.is_bigendian),
    )
    return pixels, encoding


def compressed_to_array(message: Any) -> tuple[NDArray[Any], str]:
    """Decode a `sensor_msgs/CompressedImage` of any kind that OpenCV reads (jpeg, png, ...).

    Args:
        message: The image.

    Returns:
        (H, W) or (H, W, C) uint8 or uint16, and its encoding: `mono8`, `mono16`, `bgr8`, `bgr16`
        or `bgra8`.

    Raises:
        ConversionError: The data is empty or does not decode, or is a compressed depth image.
    """
    form = str(message.format)
    size = len(message.data)
    if 'compressedDepth' in form:
        raise EncodingError(f'CompressedImage.format {form!r} is not supported')
    pixels = None
    if size:
        try:
            pixels = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error:
            pixels = None
    if pixels is None:
        raise ConversionError(
            f'CompressedImage.data ({size} bytes, format {form!r}) does not decode'
        )
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    kinds = {
        (1, 'u1'): 'mono8',
        (1, 'u2'): 'mono16',
        (3, 'u1'): 'bgr8',
        (3, 'u2'): 'bgr16',
        (4, 'u1'): 'bgra8',
    }
    encoding = kinds.get((channels, pixels.dtype.str[1:]))
    if encoding is None:
        raise EncodingError(
            f'CompressedImage.data holds {channels} channels of {pixels.dtype}, not an image '
            'of 8 or 16 bits'
        )
    return pixels, encoding


def decode_image(
    message: Any, modality: Modality, fallback: ImageFallback | None = None
) -> NDArray[Any]:
    """Read an Image or CompressedImage as what a sensor measured.

    Args:
        message: `sensor_msgs/Image` or `sensor_msgs/CompressedImage`.
        modality: camera, thermal, depth, or event for a rendered picture.
        fallback: Reads encodings unknown here, or None.

    Returns:
        camera, event: (H, W, 3) uint8 RGB; thermal: (H, W) uint8, uint16 or float32; depth: (H, W)
        float32, metres, NaN where none. It may be a read-only view of the message.

    Raises:
        ConversionError: The message is malformed, or its encoding does not suit the sensor.
    """
    convert, wanted = _DECODERS[modality]
    if hasattr(message, 'format'):
        pixels, encoding = compressed_to_array(message)
    elif fallback is not None and message.encoding not in ENCODINGS:
        pixels, encoding = fallback(message, wanted), wanted
    else:
        pixels, encoding = image_to_array(message)
    return convert(pixels, encoding)


def defer_image(message: Any, modality: Modality) -> Deferred:
    """Read of an image what costs nothing, and leave decoding and conversion for later.

    Args:
        message: `sensor_msgs/Image` or `sensor_msgs/CompressedImage`.
        modality: See `decode_image`.

    Returns:
        The image to be; it holds the message, or a view of it.

    Raises:
        ConversionError: The fields of the message contradict each other.
    """
    convert, _ = _DECODERS[modality]
    if not hasattr(message, 'format'):
        pixels, encoding = image_to_array(message)
        return Deferred(lambda: convert(pixels, encoding), (pixels.shape[0], pixels.shape[1]))
    if not len(message.data):
        raise ConversionError('CompressedImage.data is empty')
    return Deferred(lambda: decode_image(message, modality))


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
        )
    except ValueError as err:
        raise ConversionError(f'PointCloud2: {err}') from err


def transforms_from_message(message: Any) -> list[Transform]:
    """Read a `tf2_msgs/TFMessage`.

    Args:
        message: The transforms.

    Returns:
        For each: parent frame, child frame, stamp in nanoseconds, (4, 4) float64
        `T_parent_child`, metres.

    Raises:
        ConversionError: A rotation is not a unit quaternion, or a number is not finite.
    """
    read = []
    for each in message.transforms:
        parent, child = frame_of(each), str(each.child_frame_id).lstrip('/')
        q, t = each.transform.rotation, each.transform.translation
        try:
            T = make_transform(quaternion_to_matrix(q.x, q.y, q.z, q.w), (t.x, t.y, t.z))
        except ValueError as err:
            raise ConversionError(f'TFMessage, {parent!r} to {child!r}: {err}') from err
        read.append((parent, child, stamp_of(each), T))
    return read


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
    fallback: ImageFallback | None = None,
) -> SensorFrame:
    """Read a message of the camera, the thermal camera, a depth sensor, the lidar or a renderer.

    Args:
        message: Image, CompressedImage or PointCloud2.
        modality: Which sensor; `event` for a picture rendered from events, whose packets need
            a decoder.
        camera: Geometry of an image-like sensor, where known.
        fallback: Reads image encodings unknown here, or None.

    Returns:
        The frame, with the stamp of the message.

    Raises:
        ConversionError: The message is malformed, or does not suit the sensor.
    """
    if modality is Modality.LIDAR:
        data, _ = cloud_from_message(message)
        return SensorFrame(modality, stamp_of(message), frame_of(message), data)
    pixels = decode_image(message, modality, fallback)
    return SensorFrame(modality, stamp_of(message), frame_of(message), pixels, camera)


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
