"""Starts one segmentation node for several cameras: one process, one network, one batch.

Each camera has topics of its own under the name of its view; lidar and the others are shared.
"""

from launch import LaunchDescription
from sam_ad_perception.nodes.launch_description import declare, include

DEFAULTS = {
    'views': 'front,front_left,front_right,back,back_left,back_right',
    'camera_image': '{view}/camera/image_rect',
    'camera_info': '{view}/camera/camera_info',
}


def generate_launch_description():
    """Include the segmentation node's file, told of the views."""
    return LaunchDescription([*declare(**DEFAULTS), include('segmentation')])
