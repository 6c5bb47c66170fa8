"""nav2's costmap by the labels of lidar points: its parameters and its processes."""

from __future__ import annotations

import copy
from pathlib import Path

import yaml

from sam_ad_perception.nodes.launch.model import INPUTS, PerceptionLaunch, Process, join
from sam_ad_perception.nodes.ros import topics

SOURCE, NAME = 'sweep', 'costmap'
PEERS = ('nav2_costmap_2d', 'nav2_lifecycle_manager', 'semantic_segmentation_layer')
"""Packages that it needs; none of them is ours."""


def costmap_topics(plan: PerceptionLaunch) -> dict[str, dict[str, str]]:
    """List what nav2's semantic_segmentation_layer reads.

    Args:
        plan: What is launched.

    Returns:
        View -> parameter of an observation source -> topic, absolute: the costmap has a namespace
        of its own.
    """
    outer = join(plan.base or '/', plan.given.get('namespace', ''))
    points = plan.given.get('points') or INPUTS['points'][0]
    found = {}
    for view in plan.views:
        read = {
            'segmentation_topic': topics.in_view(view, topics.POINTS_MASK),
            'confidence_topic': topics.in_view(view, topics.POINTS_CONFIDENCE),
            'labels_topic': topics.in_view(view, topics.LABEL_INFO),
            'pointcloud_topic': points.replace('{view}', view),
        }
        found[view] = {name: join(outer, topic) for name, topic in read.items()}
    return found


def write_costmap_config(source: Path, target: Path, plan: PerceptionLaunch) -> None:
    """Write parameters of a costmap with one observation source for every view.

    Args:
        source: Parameters of one view.
        target: File to write.
        plan: What is launched.

    Raises:
        OSError: A file cannot be read or written.
    """
    config = yaml.safe_load(source.read_text(encoding='utf-8'))
    layer = config['/**']['ros__parameters']['semantic_layer']
    kept = layer.pop(SOURCE)
    names = []
    for view, read in costmap_topics(plan).items():
        names.append(f'{SOURCE}_{view}' if view else SOURCE)
        layer[names[-1]] = {**copy.deepcopy(kept), **read}
    layer['observation_sources'] = ' '.join(names)
    target.write_text(yaml.safe_dump(config, sort_keys=False), encoding='utf-8')


def costmap_processes(plan: PerceptionLaunch, config: Path) -> list[Process]:
    """Describe nav2's costmap, and what configures and activates it.

    Args:
        plan: What is launched.
        config: Parameter file of the costmap.

    Returns:
        The processes.
    """
    namespace = plan.given.get('namespace', '')
    # The costmap sends no bond: with a timeout the manager would take it for dead.
    manager = {'autostart': True, 'node_names': [f'{NAME}/{NAME}'], 'bond_timeout': 0.0}
    return [
        Process(
            package='nav2_costmap_2d',
            executable='nav2_costmap_2d',
            name=NAME,
            namespace=join(namespace, NAME),
            files=(str(config),),
            parameters=plan.time,
        ),
        Process(
            package='nav2_lifecycle_manager',
            executable='lifecycle_manager',
            name=f'lifecycle_manager_{NAME}',
            namespace=namespace,
            parameters={**manager, **plan.time},
        ),
    ]
