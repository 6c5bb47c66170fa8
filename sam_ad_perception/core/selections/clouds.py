"""Clouds with or without the points of chosen classes; every field is given on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.lidar.visibility import read_pixels
from sam_ad_perception.core.messages.labelled_cloud import packed_points
from sam_ad_perception.core.messages.to_ros import (
    MessageTypes,
    cloud_to_message,
    make,
    make_header,
)
from sam_ad_perception.core.sensors import CloudSource, PointCloud

_FLOATS = {7: 'f4', 8: 'f8'}
"""Datatype of a `sensor_msgs/PointField` -> numpy's."""


def select_points(pixels: NDArray[np.int32], selected: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Find the points that the camera sees on selected pixels.

    Args:
        pixels: (N,) int32, of `core.lidar.visibility.visible_pixels`.
        selected: (H, W) uint8, of `select_pixels`.

    Returns:
        (N,) bool; False for points that the camera does not see.
    """
    return read_pixels(selected, pixels, 0) > 0


def filter_cloud(
    types: MessageTypes,
    cloud: PointCloud,
    left: NDArray[np.bool_],
    stamp_ns: int,
    frame_id: str,
    *,
    organized: bool = False,
) -> Any:
    """Make a cloud of some points of a sweep.

    Args:
        types: Where message classes come from.
        cloud: The sweep; with its source, every field of the message is kept.
        left: (N,) bool, for each point of the cloud whether it stays.
        stamp_ns: Stamp, nanoseconds.
        frame_id: Frame of the points.
        organized: Whether height and width stay, with NaN coordinates for the others.

    Returns:
        The `sensor_msgs/PointCloud2`. Points that the cloud does not have (no return) go.
    """
    source = cloud.source
    if source is None:
        return _plain_cloud(types, cloud, left, stamp_ns, frame_id, organized)
    rows = packed_points(source)
    if organized:
        gone = np.ones(len(rows), np.bool_)
        gone[slice(None) if source.kept is None else source.kept] = ~left
        data = rows.copy()
        _blank(data, source, gone)
        height, width = source.height, source.width
    else:
        places = np.flatnonzero(left)
        places = places if source.kept is None else source.kept[places]
        data = rows.view(f'V{source.point_step}').reshape(-1)[places]
        height, width = 1, len(places)
    return make(
        types,
        'sensor_msgs/msg/PointCloud2',
        header=make_header(types, stamp_ns, frame_id),
        height=height,
        width=width,
        fields=[
            make(types, 'sensor_msgs/msg/PointField', name=n, offset=o, datatype=d, count=c)
            for n, o, d, c in source.fields
        ],
        is_bigendian=source.is_bigendian,
        point_step=source.point_step,
        row_step=source.point_step * width,
        data=np.ascontiguousarray(data).view(np.uint8).reshape(-1),
        is_dense=not organized,
    )


def _blank(data: NDArray[np.uint8], source: CloudSource, gone: NDArray[np.bool_]) -> None:
    """Write NaN over the coordinates of some points."""
    order = '>' if source.is_bigendian else '<'
    for name, offset, datatype, _ in source.fields:
        if name in ('x', 'y', 'z') and datatype in _FLOATS:
            nan = np.array([np.nan], f'{order}{_FLOATS[datatype]}').view(np.uint8)
            data[gone, offset : offset + len(nan)] = nan


def _plain_cloud(
    types: MessageTypes,
    cloud: PointCloud,
    left: NDArray[np.bool_],
    stamp_ns: int,
    frame_id: str,
    organized: bool,
) -> Any:
    """The cloud of a sweep that came in no message: coordinates, and intensity where known."""
    names = ['x', 'y', 'z'] + (['intensity'] if cloud.intensity is not None else [])
    points = np.empty(len(cloud.points), [(name, '<f4') for name in names])
    for axis, name in enumerate('xyz'):
        points[name] = cloud.points[:, axis]
        if organized:
            points[name][~left] = np.nan
    if cloud.intensity is not None:
        points['intensity'] = cloud.intensity
    return cloud_to_message(types, points if organized else points[left], stamp_ns, frame_id)
