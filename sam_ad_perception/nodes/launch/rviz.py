"""The RViz configuration of `config/`, with the image and cloud displays of every view."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import yaml

from sam_ad_perception.nodes.ros import topics


def write_rviz_config(source: Path, target: Path, views: Sequence[str]) -> None:
    """Write a configuration that shows each view; topics keep their names, RViz is remapped.

    Args:
        source: The configuration of one view.
        target: File to write.
        views: Names of the views; one empty name for a single one.

    Raises:
        OSError: A file cannot be read or written.
    """
    config = yaml.safe_load(source.read_text(encoding='utf-8'))
    manager = config['Visualization Manager']
    shared = [each for each in manager['Displays'] if 'Topic' not in each]
    shown = []
    for view in views:
        for each in manager['Displays']:
            if 'Topic' in each:
                display = copy.deepcopy(each)
                display['Topic']['Value'] = topics.in_view(view, display['Topic']['Value'])
                display['Name'] = f'{display["Name"]} ({view})' if view else display['Name']
                shown.append(display)
    manager['Displays'] = shared + shown
    target.write_text(yaml.safe_dump(config, sort_keys=False), encoding='utf-8')
