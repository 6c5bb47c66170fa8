"""Starts one segmentation node for several cameras: one process, one network, one batch."""

import os

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchDescription

EXECUTABLE = 'segmentation_node'
NAME = 'segmentation'
VIEWS = 'front,front_left,front_right,back,back_left,back_right'

# Launch argument -> input topic of each view, in whose topics {view} stands for its name.
OWN = {
    'camera_image': 'camera/image_rect',
    'camera_info': 'camera/camera_info',
}
# Launch argument -> input topic that all views share; it has no view in front.
SHARED = {
    'thermal_image': 'thermal/image_rect',
    'thermal_info': 'thermal/camera_info',
    'events': 'events',
    'event_info': 'events/camera_info',
    'points': 'points',
    'odometry': 'odometry',
    'depth_image': 'depth/image_rect',
    'depth_info': 'depth/camera_info',
}
# Inputs that are also read as <topic>/compressed.
COMPRESSED = ('camera_image', 'thermal_image', 'depth_image')

# Launch argument -> parameter; an argument left empty leaves the parameter file's value.
PARAMETERS = {
    'model': 'model.key',
    'zoo': 'model.zoo',
    'checkpoint_dir': 'model.checkpoint_dir',
    'device': 'model.device',
    'calibration': 'calibration',
}
FLAGS = ('use_sim_time',)

PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')


def generate_launch_description():
    """Declare the arguments and start the node."""
    share = get_package_share_directory('sam_ad_perception')
    texts = {'namespace': '', 'params_file': f'{share}/config/{NAME}.param.yaml', 'views': VIEWS}
    texts |= {name: f'{{view}}/{topic}' for name, topic in OWN.items()}
    texts |= SHARED | dict.fromkeys(PARAMETERS, '') | dict.fromkeys(FLAGS, 'false')
    return LaunchDescription(
        [
            *(DeclareLaunchArgument(name, default_value=text) for name, text in texts.items()),
            *dds_profile(share),
            OpaqueFunction(function=start_node),
        ]
    )


def start_node(context):
    """Make the node once the arguments are known."""

    def value(name):
        return LaunchConfiguration(name).perform(context)

    views = [name.strip() for name in value('views').split(',')]
    overrides = {p: value(name) for name, p in PARAMETERS.items() if value(name)}
    overrides |= {name: True for name in FLAGS if value(name).lower() == 'true'}
    return [
        Node(
            package='sam_ad_perception',
            executable=EXECUTABLE,
            name=NAME,
            namespace=value('namespace'),
            output='screen',
            parameters=[*value('params_file').split(':'), overrides | {'views': views}],
            remappings=remappings(views, {name: value(name) for name in OWN | SHARED}),
        )
    ]


def remappings(views, wanted):
    """List which topic of which view is read from where.

    `wanted` has a topic for each argument of `OWN` and `SHARED`.
    """
    found = []
    for view in views:
        for name, topic in (OWN | SHARED).items():
            target = wanted[name].replace('{view}', view)
            endings = ('', '/compressed') if name in COMPRESSED else ('',)
            found += [(f'{view}/{topic}{end}', f'{target}{end}') for end in endings]
    return [(source, target) for source, target in found if source != target]


def dds_profile(share):
    """Give Fast DDS room for images, unless the user has a profile of his own."""
    if any(name in os.environ for name in PROFILE_VARIABLES):
        return []
    profile = f'{share}/config/fastdds.xml'
    return [SetEnvironmentVariable(name, profile) for name in PROFILE_VARIABLES]
