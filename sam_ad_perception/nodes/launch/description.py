"""Launch descriptions made from `launch.model`: the arguments, and the actions for each process.

`launch` comes with a ROS installation only, so it is imported where it is needed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sam_ad_perception.core.console.installation import PACKAGE
from sam_ad_perception.nodes.launch.costmap import PEERS, costmap_processes, write_costmap_config
from sam_ad_perception.nodes.launch.model import (
    INPUTS,
    NODES,
    PARAMETERS,
    PREFIX,
    RESPAWN_DELAY_S,
    PerceptionLaunch,
    Process,
    is_true,
    parameter_files,
    simulated_by,
    starts,
)
from sam_ad_perception.nodes.launch.rviz import write_rviz_config
from sam_ad_perception.nodes.ros.environment import PROFILE_VARIABLES

COMMON = {
    'namespace': ('', 'In front of every relative topic and of the nodes.'),
    'use_sim_time': (
        '',
        'Take the time from /clock, for bags and simulators: true, false; empty for what the '
        'including launch file or a parameter file says.',
    ),
}
RESPAWN = ('true', f'Start a node again, {RESPAWN_DELAY_S:g} s after it died: true, false.')
SYSTEM = {
    'segmentation': ('true', 'Start segmentation.'),
    'depth_projection': ('false', 'Start depth_projection.'),
    'visualization': (
        'true',
        'Start visualization: true, false; inside: segmentation itself makes its pictures.',
    ),
    'synchronizer': ('false', 'Start synchronizer.'),
    'rviz': ('false', 'Start RViz, with a configuration made for the views.'),
    'costmap': (
        'false',
        "Start nav2's costmap with the labels of lidar points (semantic_segmentation_layer).",
    ),
    'record': ('', 'Folder of a new bag for what perception says; empty for none.'),
}
REPLAY = {
    'bag': (
        '',
        'Folder, or .mcap, .db3 or .bag file; empty for the nodes alone.',
    ),
    'rate': ('1.0', 'Times real time.'),
}
"""Argument without prefix -> default, description."""


def arguments_of(
    nodes: Sequence[str], *, system: bool, replay: bool
) -> dict[str, tuple[str, str]]:
    """List the arguments of a launch file.

    Args:
        nodes: Those of our nodes that it can start.
        system: Whether it is told which of them to start, and records and shows.
        replay: Whether it replays a recording.

    Returns:
        Name without prefix -> default, description.
    """
    found = dict(COMMON)
    for node in nodes:
        kind = NODES[node]
        found |= {name: INPUTS[name] for name in kind.inputs}
        for name in kind.parameters:
            found[name] = ('', f'{PARAMETERS[name][1]}; empty for the parameter file.')
        found[f'{node}_params_file'] = (
            f'{installed_share()}/config/{node}.param.yaml',
            f'Parameter files of {node}, separated by colons; later ones win.',
        )
    found['respawn'] = RESPAWN
    if system:
        # Views shape every process, whichever of them is started.
        found['views'] = ('', f'{PARAMETERS["views"][1]}; empty for the parameter file.')
    return found | (SYSTEM if system else {}) | (REPLAY if replay else {})


def full_name(name: str) -> str:
    """Name an argument as the user gives it.

    Args:
        name: Without prefix.
    """
    return name if name in COMMON else f'{PREFIX}{name}'


def describe_node(name: str) -> Any:
    """Describe how one of our nodes is started.

    Args:
        name: One of `NODES`.

    Returns:
        A `LaunchDescription`.
    """
    return _describe((name,), system=False, replay=False)


def describe_perception(*, replay: bool = False) -> Any:
    """Describe all of perception; other nodes, RViz and a recorder on demand.

    Args:
        replay: Whether a recording is played, and ends everything when it ends.

    Returns:
        A `LaunchDescription`.
    """
    return _describe(tuple(NODES), system=True, replay=replay)


def installed_share() -> str:
    """Find the data files of the installed package, as launch finds its executables.

    Returns:
        The folder.
    """
    from ament_index_python.packages import get_package_share_directory

    return get_package_share_directory(PACKAGE)


def _describe(nodes: tuple[str, ...], *, system: bool, replay: bool) -> Any:
    """Declare the arguments, and start what they ask for when they are known."""
    from launch.actions import DeclareLaunchArgument, OpaqueFunction
    from launch.launch_description import LaunchDescription

    arguments = arguments_of(nodes, system=system, replay=replay)
    start = partial(_start, nodes=nodes, names=tuple(arguments), system=system, replay=replay)
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(full_name(name), default_value=default, description=text)
                for name, (default, text) in arguments.items()
            ),
            OpaqueFunction(function=start),
        ]
    )


def _start(
    context: Any, *, nodes: tuple[str, ...], names: tuple[str, ...], system: bool, replay: bool
) -> list[Any]:
    """Make the actions of a launch whose arguments are known."""
    from launch.actions import LogInfo, Shutdown

    told = context.launch_configurations
    given = {name: told[full_name(name)] for name in names}
    wanted = [name for name in nodes if not system or starts(name, given)]
    files = {
        node: parameter_files(full_name(f'{node}_params_file'), given[f'{node}_params_file'])
        for node in wanted
    }
    if replay and 'segmentation' in files:
        files['segmentation'] += (f'{installed_share()}/config/replay.param.yaml',)
    base = told.get('ros_namespace') or ''
    simulated = True if replay else _simulated(context, given['use_sim_time'], files)
    plan = PerceptionLaunch(given, files, base, simulated)
    actions = _warn_of_old_names(told, names)
    actions += [_action(context, each) for node in wanted for each in plan.nodes(node)]
    if not system:
        return actions
    if given['record']:
        actions.append(_action(context, plan.recorder(given['record'])))
    if is_true('rviz', given['rviz']):
        if _is_installed('rviz2'):
            config = Path(tempfile.mkdtemp(prefix='sam_ad_rviz_')) / 'perception.rviz'
            source = Path(installed_share(), 'config', 'perception.rviz')
            write_rviz_config(source, config, plan.views)
            actions.append(_action(context, plan.rviz(config)))
        else:
            missing = 'rviz2 is not installed (apt install ros-$ROS_DISTRO-rviz2)'
            actions.append(LogInfo(msg=f'{PREFIX}rviz:=true: {missing}; the rest starts.'))
    if is_true('costmap', given['costmap']):
        actions += _costmap_actions(context, plan)
    if replay and given['bag']:
        played = plan.replay(given['bag'], given['rate'])
        end = Shutdown(reason='the replay ended')
        actions.append(_action(context, played, on_exit=end))
    return actions


def _costmap_actions(context: Any, plan: PerceptionLaunch) -> list[Any]:
    """Start the costmap, or say what it lacks."""
    from launch.actions import LogInfo

    missing = [package for package in PEERS if not _is_installed(package)]
    if missing:
        text = f'{", ".join(missing)} not installed; the rest starts.'
        return [LogInfo(msg=f'{PREFIX}costmap:=true: {text}')]
    config = Path(tempfile.mkdtemp(prefix='sam_ad_costmap_')) / 'costmap.yaml'
    source = Path(installed_share(), 'config', 'nav2_semantic_layer.yaml')
    write_costmap_config(source, config, plan)
    return [_action(context, each) for each in costmap_processes(plan, config)]


def _action(context: Any, process: Process, **more: Any) -> Any:
    """Make the `Node` of a process; Fast DDS is told of our profile in its environment only."""
    from launch_ros.actions import Node

    profile = f'{installed_share()}/config/fastdds.xml'
    environment = {**os.environ, **context.environment}
    chosen = any(variable in environment for variable in PROFILE_VARIABLES)
    respawn = {'respawn': True, 'respawn_delay': RESPAWN_DELAY_S} if process.respawn else {}
    parameters = [*process.files, *([dict(process.parameters)] if process.parameters else [])]
    return Node(
        package=process.package,
        executable=process.executable,
        name=process.name,
        namespace=process.namespace,
        output='screen',
        parameters=parameters or None,
        remappings=list(process.remappings),
        arguments=list(process.arguments),
        additional_env={} if chosen else dict.fromkeys(PROFILE_VARIABLES, profile),
        **respawn,
        **more,
    )


def _simulated(context: Any, argument: str, files: dict[str, tuple[str, ...]]) -> bool | None:
    """Settle `use_sim_time` for all: argument, parameter file, `SetParameter`, `SetUseSimTime`."""
    if argument:
        return is_true('use_sim_time', argument)
    in_files = simulated_by(files)
    if in_files is not None:
        return in_files
    found: bool | None = None
    for each in context.launch_configurations.get('global_params') or ():
        if isinstance(each, tuple) and each[0] == 'use_sim_time':
            found = str(each[1]).lower() == 'true'
        elif not isinstance(each, tuple):
            in_file = simulated_by({'': (str(each),)})
            found = found if in_file is None else in_file
    # SetUseSimTime tells only the node that launch itself runs, where there is one by then.
    adapter = getattr(context.locals, 'ros_adapter', None) if found is None else None
    if adapter is not None and adapter.ros_node.get_parameter('use_sim_time').value:
        return True
    return found


def _warn_of_old_names(told: Any, names: tuple[str, ...]) -> list[Any]:
    """Say which arguments without our prefix are there, as earlier versions had them."""
    from launch.actions import LogInfo

    old = [each for each in names if each not in COMMON and told.get(each)]
    if not old:
        return []
    text = ', '.join(f'{each} ({full_name(each)})' for each in sorted(old))
    return [LogInfo(msg=f'sam_ad_perception: not its launch arguments, left to others: {text}')]


def _is_installed(package: str) -> bool:
    from ament_index_python.packages import PackageNotFoundError, get_package_prefix

    try:
        get_package_prefix(package)
    except PackageNotFoundError:
        return False
    return True
