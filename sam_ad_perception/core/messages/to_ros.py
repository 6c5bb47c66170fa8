"""Core records to ROS messages, of rclpy or of rosbags alike.

`types` names message classes: a callable from 'sensor_msgs/msg/Image' to the class. Nothing here
imports a ROS module. Fields of bytes are filled the way each side takes fast: numpy arrays for
rosbags, `array.array` for rclpy (an ndarray there is checked element by element, 0.8 s an image).
"""

from __future__ import annotations

import sys
from array import array as typed_array
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.events.packets import EventPacket
from sam_ad_perception.core.geometry.transforms import matrix_to_quaternion
from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.messages.image_encodings import (
    ConversionError,
    EncodingError,
    check_pixels,
)
from sam_ad_perception.core.sensors import CameraModel
from sam_ad_perception.core.status import STATUS_NAME, FrameStatus, to_key_values

MessageTypes = Callable[[str], type]
Transform = tuple[str, str, int, NDArray[np.float64]]
"""Parent frame, child frame, stamp in nanoseconds, (4, 4) float64 `T_parent_child`."""

_POINT_FIELD = {'i1': 1, 'u1': 2, 'i2': 3, 'u2': 4, 'i4': 5, 'u4': 6, 'f4': 7, 'f8': 8}

LABELLED_POINT = np.dtype(
    [('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('rgb', '<f4'), ('label', '<u4')]
)
"""A labelled point: metres; `rgb` packs 0x00RRGGBB into a float as PCL and RViz have it."""


def make(types: MessageTypes, name: str, /, **fields: Any) -> Any:
    """Make a message.

    Args:
        types: Where message classes come from.
        name: For example `sensor_msgs/msg/Image`.
        **fields: All its fields (rosbags has no defaults). Sequences of numbers as numpy arrays.

    Returns:
        The message.
    """
    cls: Any = types(name)
    if hasattr(cls, 'get_fields_and_field_types'):
        kinds = cls.get_fields_and_field_types()
        fields = {key: _for_rclpy(kinds[key], value) for key, value in fields.items()}
    return cls(**fields)


def ns_to_stamp(types: MessageTypes, stamp_ns: int) -> Any:
    """Make a `builtin_interfaces/Time`.

    Args:
        types: Where message classes come from.
        stamp_ns: Nanoseconds since the epoch.

    Returns:
        The message.

    Raises:
        ConversionError: The time does not fit 32-bit seconds.
    """
    sec, nanosec = divmod(int(stamp_ns), 1_000_000_000)
    if not -(2**31) <= sec < 2**31:
        raise ConversionError(f'stamp_ns {stamp_ns} does not fit the 32-bit seconds of ROS')
    return make(types, 'builtin_interfaces/msg/Time', sec=sec, nanosec=nanosec)


def make_header(types: MessageTypes, stamp_ns: int, frame_id: str) -> Any:
    """Make a `std_msgs/Header`."""
    stamp = ns_to_stamp(types, stamp_ns)
    return make(types, 'std_msgs/msg/Header', stamp=stamp, frame_id=frame_id)


def array_to_image(
    types: MessageTypes, array: NDArray[Any], encoding: str, stamp_ns: int, frame_id: str
) -> Any:
    """Make a `sensor_msgs/Image`.

    Args:
        types: Where message classes come from.
        array: (H, W) or (H, W, C), of the encoding's type.
        encoding: For example `mono8`, `rgb8`, `32FC1`.
        stamp_ns: Stamp, nanoseconds.
        frame_id: Optical frame.

    Returns:
        The message, rows without padding.

    Raises:
        ConversionError: The array does not suit the encoding.
    """
    pixels = check_pixels(array, encoding)
    return make(
        types,
        'sensor_msgs/msg/Image',
        header=make_header(types, stamp_ns, frame_id),
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=int(sys.byteorder == 'big'),
        step=pixels.strides[0],
        data=pixels.reshape(-1).view(np.uint8),
    )


def array_to_compressed(
    types: MessageTypes,
    array: NDArray[Any],
    encoding: str,
    stamp_ns: int,
    frame_id: str,
    *,
    compression: str = 'png',
    quality: int = 90,
) -> Any:
    """Make a `sensor_msgs/CompressedImage`.

    Args:
        types: Where message classes come from.
        array: Pixels of `rgb8`, `bgr8`, `mono8` or (png only) `mono16`.
        encoding: Their encoding.
        stamp_ns: Stamp, nanoseconds.
        frame_id: Optical frame.
        compression: `png` keeps every value, the only choice for masks; `jpeg` does not.
        quality: Of jpeg, 1 to 100.

    Returns:
        The message, its format worded as by `compressed_image_transport`.

    Raises:
        ConversionError: The encoding cannot be compressed so.
    """
    pixels = check_pixels(array, encoding)
    stored = {'rgb8': 'bgr8', 'bgr8': 'bgr8', 'mono8': 'mono8', 'mono16': 'mono16'}.get(encoding)
    if compression not in ('png', 'jpeg') or stored is None:
        raise EncodingError(f'cannot compress encoding {encoding!r} as {compression!r}')
    if compression == 'jpeg' and pixels.dtype != np.uint8:
        raise EncodingError(f'jpeg holds 8 bits, not {encoding!r}')
    if encoding == 'rgb8':
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if compression == 'jpeg' else []
    _, data = cv2.imencode(f'.{compression}', pixels, options)
    return make(
        types,
        'sensor_msgs/msg/CompressedImage',
        header=make_header(types, stamp_ns, frame_id),
        format=f'{encoding}; {compression} compressed {stored}',
        data=data.reshape(-1),
    )


def camera_to_message(types: MessageTypes, camera: CameraModel, stamp_ns: int) -> Any:
    """Make a `sensor_msgs/CameraInfo` of one camera: R is identity, P is K.

    Args:
        types: Where message classes come from.
        camera: The geometry; its frame goes into the header.
        stamp_ns: Stamp of the image, nanoseconds.

    Returns:
        The message.
    """
    # Readers commonly expect five coefficients of plumb_bob, also where all are zero.
    D = camera.D if camera.D.size or camera.distortion_model != 'plumb_bob' else np.zeros(5)
    P = np.zeros((3, 4))
    P[:, :3] = camera.K
    P[:, 3] = camera.K @ np.array(camera.offset)
    roi = make(
        types,
        'sensor_msgs/msg/RegionOfInterest',
        **dict.fromkeys(('x_offset', 'y_offset', 'height', 'width'), 0),
        do_rectify=False,
    )
    return make(
        types,
        'sensor_msgs/msg/CameraInfo',
        header=make_header(types, stamp_ns, camera.frame_id),
        height=camera.height,
        width=camera.width,
        distortion_model=camera.distortion_model,
        d=np.array(D, dtype=np.float64),
        k=np.array(camera.K).reshape(9),
        r=np.eye(3).reshape(9),
        p=P.reshape(12),
        binning_x=0,
        binning_y=0,
        roi=roi,
    )


def cloud_to_message(
    types: MessageTypes, points: NDArray[np.void], stamp_ns: int, frame_id: str
) -> Any:
    """Make a `sensor_msgs/PointCloud2`; its fields are those of the array.

    Args:
        types: Where message classes come from.
        points: (N,) structured array with the fields x, y, z (metres) and any others.
        stamp_ns: Stamp, nanoseconds.
        frame_id: Frame of the points.

    Returns:
        The message, unorganised (height 1).

    Raises:
        ConversionError: A field has a type that PointCloud2 does not know.
    """
    made = []
    for name in points.dtype.names or ():
        dtype, offset = points.dtype.fields[name][:2]  # type: ignore[index]
        if dtype.str[1:] not in _POINT_FIELD or dtype.str[0] == '>':
            raise ConversionError(f'point field {name!r} has type {dtype}, unknown to PointCloud2')
        kind = _POINT_FIELD[dtype.str[1:]]
        fields = {'name': name, 'offset': offset, 'datatype': kind, 'count': 1}
        made.append(make(types, 'sensor_msgs/msg/PointField', **fields))
    points = np.ascontiguousarray(points)
    itemsize = points.dtype.itemsize
    return make(
        types,
        'sensor_msgs/msg/PointCloud2',
        header=make_header(types, stamp_ns, frame_id),
        height=1,
        width=len(points),
        fields=made,
        is_bigendian=False,
        point_step=itemsize,
        row_step=itemsize * len(points),
        data=np.frombuffer(points, np.uint8) if len(points) else np.zeros(0, np.uint8),
        is_dense=True,
    )


def labelled_points(
    points: NDArray[np.float32], labels: NDArray[np.uint8], space: LabelSpace
) -> NDArray[np.void]:
    """Join points and their labels for `cloud_to_message`.

    Args:
        points: (N, 3) float32, metres.
        labels: (N,) uint8 ids; 255 is unlabeled.
        space: Gives the colours.

    Returns:
        (N,) `LABELLED_POINT`.
    """
    joined = np.empty(len(points), dtype=LABELLED_POINT)
    for column, axis in enumerate('xyz'):
        joined[axis] = points[:, column]
    r, g, b = space.palette.astype(np.uint32).T
    joined['rgb'] = (r << 16 | g << 8 | b).view(np.float32)[labels]
    joined['label'] = labels
    return joined


def transforms_to_message(types: MessageTypes, transforms: Iterable[Transform]) -> Any:
    """Make a `tf2_msgs/TFMessage` from parent, child, stamp and `T_parent_child`."""
    made = []
    for parent, child, stamp_ns, T in transforms:
        x, y, z, w = (float(v) for v in matrix_to_quaternion(T[:3, :3]))
        tx, ty, tz = (float(v) for v in T[:3, 3])
        pose = make(
            types,
            'geometry_msgs/msg/Transform',
            translation=make(types, 'geometry_msgs/msg/Vector3', x=tx, y=ty, z=tz),
            rotation=make(types, 'geometry_msgs/msg/Quaternion', x=x, y=y, z=z, w=w),
        )
        header = make_header(types, stamp_ns, parent)
        kind = 'geometry_msgs/msg/TransformStamped'
        made.append(make(types, kind, header=header, child_frame_id=child, transform=pose))
    return make(types, 'tf2_msgs/msg/TFMessage', transforms=made)


def packet_to_message(types: MessageTypes, packet: EventPacket) -> Any:
    """Make an `event_camera_msgs/EventPacket`."""
    return make(
        types,
        'event_camera_msgs/msg/EventPacket',
        header=make_header(types, packet.stamp_ns, packet.frame_id),
        height=packet.size[0],
        width=packet.size[1],
        seq=packet.seq,
        time_base=packet.time_base_ns,
        encoding=packet.encoding,
        is_bigendian=packet.is_bigendian,
        events=packet.data,
    )


def label_info_to_message(
    types: MessageTypes, space: LabelSpace, stamp_ns: int, frame_id: str
) -> Any:
    """Make a `vision_msgs/LabelInfo`: the name of each id, with no confidence threshold."""
    kind = 'vision_msgs/msg/VisionClass'
    return make(
        types,
        'vision_msgs/msg/LabelInfo',
        header=make_header(types, stamp_ns, frame_id),
        class_map=[make(types, kind, class_id=c.id, class_name=c.name) for c in space.classes],
        threshold=0.0,
    )


def diagnostic_to_message(
    types: MessageTypes,
    name: str,
    level: int,
    message: str,
    pairs: Sequence[tuple[str, str]],
    hardware_id: str = '',
) -> Any:
    """Make a `diagnostic_msgs/DiagnosticStatus`; level 0 OK, 1 WARN, 2 ERROR, 3 STALE."""
    values = [make(types, 'diagnostic_msgs/msg/KeyValue', key=k, value=v) for k, v in pairs]
    return make(
        types,
        'diagnostic_msgs/msg/DiagnosticStatus',
        level=level,
        name=name,
        message=message,
        hardware_id=hardware_id,
        values=values,
    )


def status_to_message(types: MessageTypes, status: FrameStatus, frame_id: str = '') -> Any:
    """Make the `diagnostic_msgs/DiagnosticArray` of `semantic/status`.

    Args:
        types: Where message classes come from.
        status: The outcome of one reference frame; its stamp goes into the header.
        frame_id: Frame of the mask.

    Returns:
        The message, with one status.
    """
    pairs = to_key_values(status)
    entry = diagnostic_to_message(types, STATUS_NAME, status.level, status.message, pairs)
    header = make_header(types, status.stamp_ns, frame_id)
    return make(types, 'diagnostic_msgs/msg/DiagnosticArray', header=header, status=[entry])


def _for_rclpy(kind: str, value: Any) -> Any:
    """Turn a value into what an rclpy field takes without converting item by item."""
    if kind == 'octet':
        return bytes([value])
    if isinstance(value, np.ndarray) and kind.startswith('sequence<'):
        filled = typed_array(value.dtype.char)
        if value.size:
            filled.frombytes(np.ascontiguousarray(value).data.cast('B'))
        return filled
    return value
