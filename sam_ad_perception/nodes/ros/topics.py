"""Names of the topics, relative: launch files remap them, parameters never name them."""

from __future__ import annotations

from sam_ad_perception.core.sensors import Modality

CAMERA_IMAGE, CAMERA_INFO = Modality.VIEW.topic, Modality.VIEW.info_topic
POINTS = Modality.RANGING.topic
ODOMETRY = 'odometry'

MASK = 'semantic/image'
MASK_COMPRESSED = 'semantic/image/compressed'
MASK_INFO = 'semantic/camera_info'
CONFIDENCE = 'semantic/confidence'
CONFIDENCE_COMPRESSED = 'semantic/confidence/compressed'
COLOR = 'semantic/color'
OVERLAY = 'semantic/overlay'
LABELLED_POINTS = 'semantic/points'
POINTS_MASK = 'semantic/points/mask'
POINTS_CONFIDENCE = 'semantic/points/confidence'
POINTS_REGISTERED = 'semantic/points_registered'
POINTS_CHANNELS = 'semantic/points_channels'
AUTOWARE_MASK = 'semantic/autoware/mask'
STATUS = 'semantic/status'
LABEL_INFO = 'semantic/label_info'
DEPTH_RECT = 'depth_registered/image_rect'
DEPTH_RAW = 'depth_registered/image_raw'
DEPTH_MEASURED = 'depth_registered/measured'
DEPTH_INFO = 'depth_registered/camera_info'

SYNCHRONIZED = 'synchronized'
SYNCHRONIZED_STATUS = 'synchronized/status'


def sensor_topics() -> dict[Modality, str]:
    """What each sensor measures: its relative topic."""
    return {m: m.topic for m in Modality}


def info_topics() -> dict[Modality, str]:
    """The geometry of each sensor with a lens: its relative topic."""
    return {m: m.info_topic for m in Modality if m.info_topic}


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
