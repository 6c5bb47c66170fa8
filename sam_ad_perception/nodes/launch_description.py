"""What the launch files share: their arguments, and the nodes made of them.

`launch` comes with a ROS installation only, so it is imported where it is needed: the tables and
what becomes of an argument can be read and tested without it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from sam_ad_perception.nodes import topics
from sam_ad_perception.nodes.environment import PACKAGE, PROFILE_VARIABLES

INPUTS = {
    'camera_image': (topics.CAMERA_IMAGE, 'Camera image, raw or <topic>/compressed.'),
    'camera_info': (topics.CAMERA_INFO, 'Geometry of the camera.'),
    'thermal_image': (topics.THERMAL_IMAGE, 'Thermal image, raw or <topic>/compressed.'),
    'thermal_info': (topics.THERMAL_INFO, 'Geometry of the thermal camera.'),
    'events': (topics.EVENTS, 'Packets of the event camera.'),
    'event_info': (topics.EVENT_INFO, 'Geometry of the event camera.'),
    'points': (topics.POINTS, 'Lidar sweeps.'),
    'odometry': (topics.ODOMETRY, 'Twist of the vehicle, where no transform tells its motion.'),
    'depth_image': (topics.DEPTH_IMAGE, 'Image of a depth sensor, which use_depth:=true reads.'),
    'depth_info': (topics.DEPTH_IMAGE_INFO, 'Geometry of the depth sensor.'),
}
"""Launch argument -> the input topic that it renames, which is its default; description."""

SWITCHES = {
    f'use_{sensor}': (f'bundler.sync.{sensor}.enabled', f'Whether {text} takes part: true, false')
    for sensor, text in {
        'camera': 'the camera',
        'thermal': 'the thermal camera',
        'event': 'the event camera',
        'lidar': 'the lidar',
        'depth': 'a depth sensor',
    }.items()
}
"""Launch argument -> parameter that is true or false; description."""

PARAMETERS = {
    'model': ('model.key', 'Entry of the model zoo, or several separated by commas'),
    'zoo': ('model.zoo', 'Zoo file'),
    'checkpoint_dir': ('model.checkpoint_dir', 'Folder of checkpoints'),
    'device': ('model.device', 'Where the network runs: cpu or cuda:0'),
    'calibration': ('calibration', 'File of transforms and geometry that no topic brings'),
    'views': ('views', 'Cameras by name, separated by commas; {view} in a topic is each of them'),
    'synchronizer_policy': ('policy', 'deadline or approximate'),
    **SWITCHES,
}
"""Launch argument -> parameter; left empty, the parameter file decides; description."""

OTHERS = {
    'namespace': ('', 'In front of every relative topic and of the nodes.'),
    'use_sim_time': ('false', 'Take the time from /clock: for bags and simulators.'),
}
"""Launch argument -> default, description."""


def declare(*names: str, **defaults: str) -> list[Any]:
    """Declare launch arguments.

    Args:
        *names: Arguments of the tables above.
        **defaults: More of them, with another default than there.

    Returns:
        A `DeclareLaunchArgument` for each.
    """
    from launch.actions import DeclareLaunchArgument

    known = INPUTS | OTHERS
    for name, (_, text) in PARAMETERS.items():
        known[name] = ('', f'{text}; empty for the parameter file.')
    values = {name: known[name][0] for name in names} | defaults
    return [
        DeclareLaunchArgument(name, default_value=value, description=known[name][1])
        for name, value in values.items()
    ]


def declare_params_file(node: str) -> Any:
    """Declare which parameter files a node reads: `<node>_params_file`.

    Args:
        node: The node, for example `segmentation`.

    Returns:
        A `DeclareLaunchArgument`.
    """
    from launch.actions import DeclareLaunchArgument

    return DeclareLaunchArgument(
        f'{node}_params_file',
        default_value=f'{installed_share()}/config/{node}.param.yaml',
        description=f'Parameter files of {node}, separated by colons; later ones win.',
    )


def describe_node(name: str, inputs: Sequence[str], parameters: Sequence[str] = ()) -> Any:
    """Describe how one of our nodes is started: by `<name>_node`, remapped and parametrized.

    Args:
        name: Of the node.
        inputs: The launch arguments that rename its inputs.
        parameters: The launch arguments that set its parameters.

    Returns:
        A `LaunchDescription`.
    """
    from launch.actions import OpaqueFunction, SetEnvironmentVariable
    from launch.launch_description import LaunchDescription
    from launch.substitutions import LaunchConfiguration
    from launch_ros.actions import Node

    arguments = (*OTHERS, *inputs, *parameters)

    def start(context: Any) -> list[Any]:
        files = LaunchConfiguration(f'{name}_params_file').perform(context).split(':')
        given = {each: LaunchConfiguration(each).perform(context) for each in arguments}
        node = Node(
            package=PACKAGE,
            executable=f'{name}_node',
            name=name,
            namespace=given['namespace'],
            output='screen',
            parameters=[*files, overrides(given)],
            remappings=remappings(given),
        )
        return [node]

    profile = f'{installed_share()}/config/fastdds.xml'
    own_profile = any(variable in os.environ for variable in PROFILE_VARIABLES)
    variables = () if own_profile else PROFILE_VARIABLES
    return LaunchDescription(
        [
            *declare(*arguments),
            declare_params_file(name),
            *(SetEnvironmentVariable(variable, profile) for variable in variables),
            OpaqueFunction(function=start),
        ]
    )


def include(name: str, condition: Any = None, **arguments: Any) -> Any:
    """Include one of the package's launch files; it sees the includer's arguments, too.

    Args:
        name: Of the file, without `.launch.py`.
        condition: When it is included; None for always.
        **arguments: What it is told otherwise than the includer.

    Returns:
        An `IncludeLaunchDescription`.
    """
    from launch.actions import IncludeLaunchDescription
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    return IncludeLaunchDescription(
        PythonLaunchDescriptionSource(f'{installed_share()}/launch/{name}.launch.py'),
        launch_arguments=arguments.items(),
        condition=condition,
    )


def installed_share() -> str:
    """Find the data files of the installed package, as launch finds its executables.

    Returns:
        The folder.
    """
    from ament_index_python.packages import get_package_share_directory

    return get_package_share_directory(PACKAGE)


def overrides(given: Mapping[str, str]) -> dict[str, object]:
    """Find the parameters that launch arguments set beside the parameter files.

    Args:
        given: Value of each argument that the launch file has.

    Returns:
        Value of each such parameter.

    Raises:
        ValueError: A switch is neither true nor false.
    """
    found: dict[str, object] = {}
    for name, value in given.items():
        if name in SWITCHES and value:
            found[SWITCHES[name][0]] = is_true(name, value)
        elif name in PARAMETERS and value:
            found[PARAMETERS[name][0]] = views_of(given) if name == 'views' else value
    if is_true('use_sim_time', given['use_sim_time']):
        found['use_sim_time'] = True
    return found


def is_true(name: str, value: str) -> bool:
    """Read a launch argument that is true or false.

    Args:
        name: Of the argument.
        value: Its text.

    Returns:
        What it says.

    Raises:
        ValueError: It says neither.
    """
    meaning = {'true': True, 'false': False}
    if value.lower() not in meaning:
        raise ValueError(f'{name}:={value}, expected true or false')
    return meaning[value.lower()]


def views_of(given: Mapping[str, str]) -> list[str]:
    """List the camera views that the argument `views` names; one without a name if none.

    Args:
        given: Value of each argument.

    Returns:
        Their names.
    """
    return [view.strip() for view in given.get('views', '').split(',')]


def remappings(given: Mapping[str, str]) -> list[tuple[str, str]]:
    """List which topic of a node is read from where, for each of its camera views.

    Args:
        given: Value of each argument that the launch file has. `{view}` in a topic stands for the
            view's name; a topic without is shared by all views.

    Returns:
        (topic by the name that the node uses, topic to read) where the two differ.
    """
    found = []
    for view in views_of(given):
        for name in INPUTS.keys() & given.keys():
            source = topics.in_view(view, INPUTS[name][0])
            target = given[name].replace('{view}', view)
            endings = ('', '/compressed') if name.endswith('_image') else ('',)
            found += [(f'{source}{end}', f'{target}{end}') for end in endings]
    return sorted((source, target) for source, target in found if source != target)
