"""Replays a bag through perception: simulated time, nothing lost, the same masks each time.

Without `bag` only the nodes start, ready for `sam_ad replay BAG --lockstep` in another terminal.
"""

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, Shutdown
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, NotEqualsSubstitution
from launch_ros.actions import Node

from launch import LaunchDescription

# Passed on to perception.launch.py.
PASSED = ('namespace', 'model', 'zoo', 'checkpoint_dir', 'device', 'calibration', 'rviz')


def generate_launch_description():
    """Declare the arguments, start perception and the replay; its end ends everything."""
    share = get_package_share_directory('sam_ad_perception')
    params = f'{share}/config/segmentation.param.yaml:{share}/config/replay.param.yaml'
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'bag', default_value='', description='Folder, or .mcap or .db3 file.'
            ),
            DeclareLaunchArgument('rate', default_value='1.0', description='Times real time.'),
            *(DeclareLaunchArgument(name, default_value='') for name in PASSED[:-1]),
            DeclareLaunchArgument('rviz', default_value='false'),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(f'{share}/launch/perception.launch.py'),
                launch_arguments=[
                    ('use_sim_time', 'true'),
                    ('segmentation_params_file', params),
                    *((name, LaunchConfiguration(name)) for name in PASSED),
                ],
            ),
            Node(
                package='sam_ad_perception',
                executable='replay_node',
                namespace=LaunchConfiguration('namespace'),
                output='screen',
                arguments=[
                    LaunchConfiguration('bag'),
                    '--lockstep',
                    '--rate',
                    LaunchConfiguration('rate'),
                ],
                condition=IfCondition(NotEqualsSubstitution(LaunchConfiguration('bag'), '')),
                on_exit=Shutdown(reason='the replay ended'),
            ),
        ]
    )
