"""Starts the segmentation node. Topics are remapped here and nowhere else."""

import os

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchDescription

EXECUTABLE = 'segmentation_node'
NAME = 'segmentation'

# Launch argument -> input topic of the node; the argument's default is the topic itself.
INPUTS = {
    'camera_image': 'camera/image_rect',
    'camera_info': 'camera/camera_info',
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
# Launch argument -> parameter that is true or false; left empty, the parameter file decides.
SWITCHES = {
    f'use_{name}': f'bundler.sync.{name}.enabled'
    for name in ('camera', 'thermal', 'event', 'lidar', 'depth')
}
FLAGS = ('use_sim_time',)

PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')


def generate_launch_description():
    """Declare the arguments and start the node."""
    share = get_package_share_directory('sam_ad_perception')
    texts = {'namespace': '', 'params_file': f'{share}/config/{NAME}.param.yaml'}
    texts |= INPUTS | dict.fromkeys({**PARAMETERS, **SWITCHES}, '')
    texts |= dict.fromkeys(FLAGS, 'false')
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

    remappings = [(topic, value(name)) for name, topic in INPUTS.items()]
    remappings += [
        (f'{INPUTS[name]}/compressed', f'{value(name)}/compressed') for name in COMPRESSED
    ]
    overrides = {p: value(name) for name, p in PARAMETERS.items() if value(name)}
    overrides |= {p: value(n).lower() == 'true' for n, p in SWITCHES.items() if value(n)}
    overrides |= {name: True for name in FLAGS if value(name).lower() == 'true'}
    return [
        Node(
            package='sam_ad_perception',
            executable=EXECUTABLE,
            name=NAME,
            namespace=value('namespace'),
            output='screen',
            parameters=[*value('params_file').split(':'), overrides],
            remappings=[(topic, target) for topic, target in remappings if topic != target],
        )
    ]


def dds_profile(share):
    """Give Fast DDS room for images, unless the user has a profile of his own."""
    if any(name in os.environ for name in PROFILE_VARIABLES):
        return []
    profile = f'{share}/config/fastdds.xml'
    return [SetEnvironmentVariable(name, profile) for name in PROFILE_VARIABLES]
