"""Starts perception: segmentation and visualization; other nodes, RViz, a recorder on demand.

The arguments of the included files are given here all the same: model:=..., points:=... .
"""

from launch.actions import DeclareLaunchArgument
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, NotEqualsSubstitution
from launch_ros.actions import Node

from launch import LaunchDescription
from sam_ad_perception.nodes.launch_description import declare, include, installed_share

# Node, which is also the argument that starts it -> whether it is started by default.
NODES = {
    'segmentation': 'true',
    'depth_projection': 'false',
    'visualization': 'true',
    'synchronizer': 'false',
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
    rviz, record = LaunchConfiguration('rviz'), LaunchConfiguration('record')
    shared = {
        'namespace': LaunchConfiguration('namespace'),
        'parameters': [{'use_sim_time': LaunchConfiguration('use_sim_time')}],
    }
    actions = [
        *declare('namespace', 'use_sim_time'),
        DeclareLaunchArgument(
            'rviz', default_value='false', description='Start RViz with config/perception.rviz.'
        ),
        DeclareLaunchArgument(
            'record',
            default_value='',
            description='Folder of a new bag for what perception says; empty for none.',
        ),
    ]
    for name, default in NODES.items():
        actions += [
            DeclareLaunchArgument(name, default_value=default, description=f'Start {name}.'),
            include(name, condition=IfCondition(LaunchConfiguration(name))),
        ]
    return LaunchDescription(
        [
            *actions,
            Node(
                package='rviz2',
                executable='rviz2',
                arguments=['-d', f'{installed_share()}/config/perception.rviz'],
                condition=IfCondition(rviz),
                **shared,
            ),
            Node(
                package='sam_ad_perception',
                executable='recorder_node',
                output='screen',
                arguments=[record, *RECORDED],
                condition=IfCondition(NotEqualsSubstitution(record, '')),
                **shared,
            ),
        ]
    )
