"""Masks as Autoware's `segmentation_pointcloud_fusion` reads them: its classes, in runs.

Each run is five bytes: the class, and its length as a little-endian int32; runs go on over the
ends of rows (Autoware, `perception_utils`, 2023-12 on).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.labels import LABEL_SPACES, LabelSpace, mapping
from sam_ad_perception.core.messages.to_ros import MessageTypes, make, make_header

CLASSES = (
    *('UNKNOWN', 'BUILDING', 'WALL', 'OBSTACLE', 'TRAFFIC_LIGHT', 'TRAFFIC_SIGN', 'PERSON'),
    *('VEHICLE', 'BIKE', 'ROAD', 'SIDEWALK', 'ROAD_PAINT', 'CURBSTONE', 'CROSSWALK'),
    *('VEGETATION', 'SKY'),
)
"""Names of `filter_semantic_label_target` in the order of their ids."""
_OF_CITYSCAPES = {
    'road': 'ROAD',
    'sidewalk': 'SIDEWALK',
    'building': 'BUILDING',
    'wall': 'WALL',
    'fence': 'OBSTACLE',
    'pole': 'OBSTACLE',
    'traffic light': 'TRAFFIC_LIGHT',
    'traffic sign': 'TRAFFIC_SIGN',
    'vegetation': 'VEGETATION',
    'sky': 'SKY',
    'person': 'PERSON',
    'rider': 'PERSON',
    'car': 'VEHICLE',
    'truck': 'VEHICLE',
    'bus': 'VEHICLE',
    'train': 'VEHICLE',
    'motorcycle': 'BIKE',
    'bicycle': 'BIKE',
}
_RUN = np.dtype([('label', 'u1'), ('length', '<i4')])


def autoware_ids(space: LabelSpace) -> NDArray[np.uint8]:
    """Look up Autoware's class of each of ours.

    Args:
        space: Our classes; those of Cityscapes, or related to them.

    Returns:
        (256,) uint8 by our id; 0, UNKNOWN, where Autoware has no such class.

    Raises:
        ValueError: Nothing relates the space to Cityscapes.
    """
    cityscapes = LABEL_SPACES['cityscapes']
    table = np.zeros(256, np.uint8)
    for each in cityscapes.classes:
        if each.name in _OF_CITYSCAPES:
            table[each.id] = CLASSES.index(_OF_CITYSCAPES[each.name])
    return table[mapping(space, cityscapes)]


def encode_mask(
    types: MessageTypes,
    mask: NDArray[np.uint8],
    ids: NDArray[np.uint8],
    stamp_ns: int,
    frame_id: str,
) -> Any:
    """Make the message of a mask.

    Args:
        types: Where message classes come from.
        mask: (H, W) uint8 ids.
        ids: (256,) uint8, of `autoware_ids`.
        stamp_ns: Stamp, nanoseconds.
        frame_id: Frame of the camera image.

    Returns:
        The `sensor_msgs/Image` with the height and width of the mask and runs as its data.
    """
    labels = ids[mask].reshape(-1)
    starts = np.flatnonzero(np.diff(labels, prepend=labels[:1] + np.uint8(1)))
    runs = np.empty(len(starts), _RUN)
    runs['label'] = labels[starts]
    runs['length'] = np.diff(starts, append=len(labels))
    data = np.frombuffer(runs.tobytes(), np.uint8)
    return make(
        types,
        'sensor_msgs/msg/Image',
        header=make_header(types, stamp_ns, frame_id),
        height=mask.shape[0],
        width=mask.shape[1],
        encoding='8UC1',
        is_bigendian=0,
        step=mask.shape[1],
        data=data,
    )
