"""Replays a bag through perception: simulated time, nothing lost, the same masks each time.

Without `bag` only the nodes start, ready for `sam_ad replay BAG --lockstep` in another terminal.
The arguments of perception.launch.py are given here all the same.
"""

from launch.actions import DeclareLaunchArgument, Shutdown
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, NotEqualsSubstitution
from launch_ros.actions import Node

from launch import LaunchDescription
from sam_ad_perception.nodes.launch_description import (
    declare,
    declare_params_file,
    include,
    installed_share,
)


def generate_launch_description():
    """Declare the arguments, start perception and the replay; its end ends everything."""
    bag, rate = LaunchConfiguration('bag'), LaunchConfiguration('rate')
    params, ours = 'segmentation_params_file', f'{installed_share()}/config/replay.param.yaml'
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'bag', default_value='', description='Folder, or .mcap or .db3 file.'
            ),
            DeclareLaunchArgument('rate', default_value='1.0', description='Times real time.'),
            *declare('namespace'),
            declare_params_file('segmentation'),
            include(
                'perception',
                use_sim_time='true',
                segmentation_params_file=[LaunchConfiguration(params), f':{ours}'],
            ),
            Node(
                package='sam_ad_perception',
                executable='replay_node',
                namespace=LaunchConfiguration('namespace'),
                output='screen',
                arguments=[bag, '--lockstep', '--rate', rate],
                condition=IfCondition(NotEqualsSubstitution(bag, '')),
                on_exit=Shutdown(reason='the replay ended'),
            ),
        ]
    )
