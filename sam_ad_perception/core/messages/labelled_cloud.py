"""`semantic/points`: the sweep as it came, with a label and a colour for each point."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.messages.point_cloud import PointField, read_fields
from sam_ad_perception.core.messages.to_ros import (
    MessageTypes,
    array_to_image,
    cloud_to_message,
    labelled_points,
    make,
    make_header,
)
from sam_ad_perception.core.sensors import CloudSource, PointCloud

UNLABELLED = 255
_ADDED = (('rgb', 'f4', 7), ('label', 'u4', 6))
_RENAMED = 'input_{}'
"""A field of the input that is called like one of ours is given on under this name."""


def labelled_cloud(
    types: MessageTypes,
    cloud: PointCloud,
    labels: NDArray[np.uint8],
    space: LabelSpace,
    stamp_ns: int,
    frame_id: str,
) -> Any:
    """Make the message of `semantic/points`.

    Args:
        types: Where message classes come from.
        cloud: The sweep; with its source, every field, the height, the width and the order of the
            message that it was read from are kept.
        labels: (N,) uint8 ids, one for each point of the cloud; 255 is unlabeled.
        space: Gives the colours.
        stamp_ns: Stamp, nanoseconds.
        frame_id: Frame of the points.

    Returns:
        The `sensor_msgs/PointCloud2`: the fields of the input, then `rgb` and `label`. Points
        that were removed from the cloud (no return) carry 255.
    """
    source = cloud.source
    if source is None:
        joined = labelled_points(cloud.points, labels, space)
        return cloud_to_message(types, joined, stamp_ns, frame_id)
    count = source.height * source.width
    every = _of_every_point(cloud, labels, UNLABELLED)
    order = '>' if source.is_bigendian else '<'
    at = (source.point_step + 3) // 4 * 4
    step = at + 4 * len(_ADDED)
    data = np.zeros((count, step), np.uint8)
    data[:, : source.point_step] = packed_points(source)
    r, g, b = space.palette.astype(np.uint32).T
    added = {'rgb': (r << 16 | g << 8 | b)[every], 'label': every.astype(np.uint32)}
    fields = [
        (_RENAMED.format(name) if name in added else name, *rest) for name, *rest in source.fields
    ]
    for k, (name, _, datatype) in enumerate(_ADDED):
        offset = at + 4 * k
        values = added[name].astype(f'{order}u4')
        data[:, offset : offset + 4] = values.view(np.uint8).reshape(-1, 4)
        fields.append((name, offset, datatype, 1))
    return make(
        types,
        'sensor_msgs/msg/PointCloud2',
        header=make_header(types, stamp_ns, frame_id),
        height=source.height,
        width=source.width,
        fields=[
            make(types, 'sensor_msgs/msg/PointField', name=n, offset=o, datatype=d, count=c)
            for n, o, d, c in fields
        ],
        is_bigendian=source.is_bigendian,
        point_step=step,
        row_step=step * source.width,
        data=data.reshape(-1),
        is_dense=source.is_dense,
    )


def points_image(
    types: MessageTypes,
    cloud: PointCloud,
    values: NDArray[np.uint8],
    unseen: int,
    stamp_ns: int,
    frame_id: str,
) -> Any:
    """Make an image of one value for each point, of the height and width of the cloud's message.

    Args:
        types: Where message classes come from.
        cloud: The sweep.
        values: (N,) uint8, one for each point of the cloud.
        unseen: Value of points that were removed from the cloud (no return).
        stamp_ns: Stamp of the sweep, nanoseconds.
        frame_id: Frame of the points.

    Returns:
        The `sensor_msgs/Image`, `mono8`; pixels lie as the points do in the message. A sweep that
        came in no message gives one row.
    """
    every = _of_every_point(cloud, values, unseen)
    source = cloud.source
    shape = (1, len(every)) if source is None else (source.height, source.width)
    return array_to_image(types, every.reshape(shape), 'mono8', stamp_ns, frame_id)


def read_labelled_points(message: Any) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Read the finite points and the labels of a `semantic/points`.

    Args:
        message: The `sensor_msgs/PointCloud2`.

    Returns:
        (N, 3) float32, metres; (N,) uint8 ids, 255 for unlabeled.

    Raises:
        ValueError: It has no x, y, z and label.
    """
    views = read_fields(
        message.data,
        [PointField(f.name, f.offset, f.datatype, f.count) for f in message.fields],
        message.point_step,
        message.row_step,
        message.height,
        message.width,
        bool(message.is_bigendian),
        ['x', 'y', 'z', 'label'],
    )
    points = np.stack([views[axis].reshape(-1).astype(np.float32) for axis in 'xyz'], axis=1)
    finite = np.isfinite(points).all(axis=1)
    return points[finite], views['label'].reshape(-1)[finite].astype(np.uint8)


def _of_every_point(
    cloud: PointCloud, values: NDArray[np.uint8], unseen: int
) -> NDArray[np.uint8]:
    """Values of all points of the message, those that were removed from the cloud included."""
    source = cloud.source
    if source is None:
        return values
    every = np.full(source.height * source.width, unseen, np.uint8)
    every[slice(None) if source.kept is None else source.kept] = values
    return every


def packed_points(source: CloudSource) -> NDArray[np.uint8]:
    """Lay the points of a message one after the other.

    Args:
        source: The message's points.

    Returns:
        (N, point_step) uint8; no copy where the rows are not padded.
    """
    shape = source.height, source.width, source.point_step
    if 0 in shape:
        return np.zeros((0, source.point_step), np.uint8)
    strides = source.row_step, source.point_step, 1
    rows: NDArray[np.uint8] = np.ndarray(shape, np.uint8, source.data, 0, strides)
    return rows.reshape(-1, source.point_step)
