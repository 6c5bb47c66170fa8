"""Starts perception: segmentation and visualization; other nodes and RViz on demand."""

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, NotEqualsSubstitution
from launch_ros.actions import Node

from launch import LaunchDescription

# Node -> launch argument that starts it, and its default.
NODES = {
    'segmentation': ('segmentation', 'true'),
    'depth_projection': ('depth_projection', 'false'),
    'visualization': ('visualization', 'true'),
    'synchronizer': ('synchronizer', 'false'),
}

# Arguments passed on to each node's launch file, by the name that they have there.
PASSED = {
    'segmentation': (
        *('namespace', 'use_sim_time', 'model', 'zoo', 'checkpoint_dir', 'device', 'calibration'),
        *('camera_image', 'camera_info', 'thermal_image', 'thermal_info'),
        *('events', 'event_info', 'points', 'odometry', 'depth_image', 'depth_info'),
        *('use_camera', 'use_thermal', 'use_event', 'use_lidar', 'use_depth'),
    ),
    'depth_projection': ('namespace', 'use_sim_time', 'calibration', 'camera_info', 'points'),
    'visualization': (
        *('namespace', 'use_sim_time', 'calibration', 'camera_image', 'camera_info', 'points'),
    ),
    'synchronizer': (
        *('namespace', 'use_sim_time', 'synchronizer_policy', 'points'),
        *('camera_image', 'camera_info', 'thermal_image', 'thermal_info'),
    ),
}

ARGUMENTS = {
    'namespace': ('', 'Put in front of every relative topic and node name.'),
    'use_sim_time': ('false', 'Take the time from /clock: for bags and simulators.'),
    'model': ('', 'Entry of the model zoo; empty for the one in the parameter file.'),
    'zoo': ('', 'Zoo file; empty for the one in the parameter file.'),
    'checkpoint_dir': ('', 'Folder of checkpoints; empty for the one in the parameter file.'),
    'device': ('', 'cpu or cuda:0; empty for the one in the parameter file.'),
    'calibration': ('', 'File of transforms and camera geometry that no topic brings.'),
    'camera_image': ('camera/image_rect', 'Camera image, raw or <topic>/compressed.'),
    'camera_info': ('camera/camera_info', 'Geometry of the camera.'),
    'thermal_image': ('thermal/image_rect', 'Thermal image, raw or <topic>/compressed.'),
    'thermal_info': ('thermal/camera_info', 'Geometry of the thermal camera.'),
    'events': ('events', 'Packets of the event camera.'),
    'event_info': ('events/camera_info', 'Geometry of the event camera.'),
    'points': ('points', 'Lidar sweeps.'),
    'odometry': ('odometry', 'Twist of the vehicle, where no transform tells how it moves.'),
    'depth_image': ('depth/image_rect', 'Image of a depth sensor (bundler.sync.depth.enabled).'),
    'depth_info': ('depth/camera_info', 'Geometry of the depth sensor.'),
    **{
        f'use_{name}': ('', f'Whether {text} takes part; empty for the parameter file.')
        for name, text in {
            'camera': 'the camera',
            'thermal': 'the thermal camera',
            'event': 'the event camera',
            'lidar': 'the lidar',
            'depth': 'a depth sensor',
        }.items()
    },
    'synchronizer_policy': ('', 'deadline or approximate; empty for the parameter file.'),
    'rviz': ('false', 'Start RViz with config/perception.rviz.'),
    'record': ('', 'Folder of a new bag for what perception says; empty for none.'),
}

# What is recorded, within the namespace.
RECORDED = (
    'semantic/image',
    'semantic/confidence',
    'semantic/status',
    'semantic/label_info',
    '/diagnostics',
)


def generate_launch_description():
    """Declare the arguments, include the nodes' launch files."""
    share = get_package_share_directory('sam_ad_perception')
    actions = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    for name, (switch, default) in NODES.items():
        params = f'{name}_params_file'
        actions += [
            DeclareLaunchArgument(switch, default_value=default, description=f'Start {name}.'),
            DeclareLaunchArgument(
                params,
                default_value=f'{share}/config/{name}.param.yaml',
                description=f'Parameter files of {name}, separated by colons; later ones win.',
            ),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(f'{share}/launch/{name}.launch.py'),
                launch_arguments=[
                    ('params_file', LaunchConfiguration(params)),
                    *((each, LaunchConfiguration(each)) for each in PASSED[name]),
                ],
                condition=IfCondition(LaunchConfiguration(switch)),
            ),
        ]
    actions.append(
        Node(
            package='rviz2',
            executable='rviz2',
            arguments=['-d', f'{share}/config/perception.rviz'],
            condition=IfCondition(LaunchConfiguration('rviz')),
        )
    )
    actions.append(
        Node(
            package='sam_ad_perception',
            executable='recorder_node',
            namespace=LaunchConfiguration('namespace'),
            output='screen',
            arguments=[LaunchConfiguration('record'), *RECORDED],
            parameters=[{'use_sim_time': LaunchConfiguration('use_sim_time')}],
            condition=IfCondition(NotEqualsSubstitution(LaunchConfiguration('record'), '')),
        )
    )
    return LaunchDescription(actions)
