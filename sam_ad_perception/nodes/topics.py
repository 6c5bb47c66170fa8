"""Names of the topics, relative: launch files remap them, parameters never name them."""

from __future__ import annotations

from sam_ad_perception.core.sensors import Modality

CAMERA_IMAGE = 'camera/image_rect'
CAMERA_INFO = 'camera/camera_info'
THERMAL_IMAGE = 'thermal/image_rect'
THERMAL_INFO = 'thermal/camera_info'
EVENTS = 'events'
EVENT_INFO = 'events/camera_info'
POINTS = 'points'
ODOMETRY = 'odometry'
DEPTH_IMAGE = 'depth/image_rect'
DEPTH_IMAGE_INFO = 'depth/camera_info'

MASK = 'semantic/image'
MASK_COMPRESSED = 'semantic/image/compressed'
CONFIDENCE = 'semantic/confidence'
COLOR = 'semantic/color'
OVERLAY = 'semantic/overlay'
LABELLED_POINTS = 'semantic/points'
STATUS = 'semantic/status'
LABEL_INFO = 'semantic/label_info'
DEPTH_RECT = 'depth_registered/image_rect'
DEPTH_RAW = 'depth_registered/image_raw'
DEPTH_MEASURED = 'depth_registered/measured'
DEPTH_INFO = 'depth_registered/camera_info'

SYNCHRONIZED = 'synchronized'
SYNCHRONIZED_STATUS = 'synchronized/status'

SENSOR_TOPICS = {
    Modality.CAMERA: CAMERA_IMAGE,
    Modality.THERMAL: THERMAL_IMAGE,
    Modality.EVENT: EVENTS,
    Modality.LIDAR: POINTS,
    Modality.DEPTH: DEPTH_IMAGE,
}
"""What each sensor measures."""

INFO_TOPICS = {
    Modality.CAMERA: CAMERA_INFO,
    Modality.THERMAL: THERMAL_INFO,
    Modality.EVENT: EVENT_INFO,
    Modality.DEPTH: DEPTH_IMAGE_INFO,
}
"""The geometry of each image-like sensor."""


def in_view(view: str, topic: str) -> str:
    """Name a topic of one of several camera views.

    Args:
        view: Its name; empty for the only view of a node.
        topic: Relative name.

    Returns:
        The name within the node's namespace.
    """
    return f'{view}/{topic}' if view else topic


def depth_topic(rectified: bool) -> str:
    """Name the depth image's topic after the camera image that it belongs to.

    Args:
        rectified: Whether that image is rectified.

    Returns:
        The topic.
    """
    return DEPTH_RECT if rectified else DEPTH_RAW
