"""Files from which other tools read what ids mean: `sam_ad labels --as NAME`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from types import MappingProxyType

import yaml

from sam_ad_perception.core.consumers.autoware import CLASSES, autoware_ids
from sam_ad_perception.core.labels import LabelSpace

GROUND = frozenset({'road', 'sidewalk', 'terrain', 'pavement', 'roadline', 'ground'})
MOVING = frozenset(
    {
        *('person', 'rider', 'car', 'truck', 'bus', 'train', 'motorcycle', 'bicycle'),
        *('pedestrian', 'cars', 'bike', 'bicyclist', 'twowheeler', 'dynamic', 'human'),
    }
)
SKY = frozenset({'sky', 'unlabeled', 'background'})
"""Classes by their role, in small letters; any other stands still."""
_COSTS = {
    'ground': (0, 1, 255, 0, False),
    'still': (200, 254, 128, 2, False),
    'moving': (254, 254, 0, 0, True),
}
_COST_NAMES = (
    'base_cost',
    'max_cost',
    'mark_confidence',
    'samples_to_max_cost',
    'dominant_priority',
)


def role_of(name: str) -> str:
    """Say what a class is to a map: `ground`, `moving`, `sky` or `still`.

    Args:
        name: Of the class.
    """
    roles = {'ground': GROUND, 'moving': MOVING, 'sky': SKY}
    return next((role for role, names in roles.items() if name.lower() in names), 'still')


def write_labels(space: LabelSpace, form: str) -> dict[str, str]:
    """Write the classes of a label space for a tool.

    Args:
        space: The classes.
        form: One of `FORMS`.

    Returns:
        File name -> content.

    Raises:
        ValueError: There is no such form, or the tool's classes cannot be found.
    """
    if form not in FORMS:
        raise ValueError(f'labels can be written as {", ".join(FORMS)}, got {form!r}')
    return FORMS[form](space)


def _hydra(space: LabelSpace) -> dict[str, str]:
    """Hydra and Khronos: the label space, and the colours of their visualization."""
    by_role = {
        role: [each.id for each in space.classes if role_of(each.name) == role]
        for role in ('ground', 'moving', 'sky', 'still')
    }
    content = {
        'total_semantic_labels': len(space),
        'dynamic_labels': by_role['moving'],
        'invalid_labels': by_role['sky'],
        'object_labels': by_role['still'],
        'surface_places_labels': by_role['ground'],
        'label_names': [{'label': each.id, 'name': each.name} for each in space.classes],
    }
    colors = io.StringIO()
    rows = csv.writer(colors, lineterminator='\n')
    rows.writerow(['name', 'red', 'green', 'blue', 'alpha', 'id'])
    rows.writerows([each.name, *each.color, 255, each.id] for each in space.classes)
    return {
        f'{space.name}_label_space.yaml': yaml.safe_dump(content, sort_keys=False),
        f'{space.name}.csv': colors.getvalue(),
    }


def _nav2(space: LabelSpace) -> dict[str, str]:
    """The classes of an observation source of nav2's semantic_segmentation_layer."""
    source: dict[str, object] = {'class_types': list(_COSTS)}
    for role, costs in _COSTS.items():
        names = [each.name for each in space.classes if role_of(each.name) == role]
        source[role] = {'classes': names, **dict(zip(_COST_NAMES, costs, strict=True))}
    return {f'{space.name}_nav2.yaml': yaml.safe_dump(source, sort_keys=False)}


def _autoware(space: LabelSpace) -> dict[str, str]:
    """Autoware's class of each of ours, as `semantic/autoware/mask` has them."""
    ids = autoware_ids(space)
    rows = ['id,name,autoware_id,autoware_name']
    rows += [f'{c.id},{c.name},{ids[c.id]},{CLASSES[ids[c.id]]}' for c in space.classes]
    return {f'{space.name}_autoware.csv': '\n'.join(rows) + '\n'}


def _rerun(space: LabelSpace) -> dict[str, str]:
    """The entries of rerun's AnnotationContext."""
    entries = [{'id': c.id, 'label': c.name, 'color': [*c.color]} for c in space.classes]
    return {f'{space.name}_rerun.json': json.dumps(entries, indent=1) + '\n'}


def _cvat(space: LabelSpace) -> dict[str, str]:
    """The labels of a CVAT task, to paste into its constructor (Raw)."""
    entries = [
        {'name': c.name, 'color': '#{:02x}{:02x}{:02x}'.format(*c.color), 'attributes': []}
        for c in space.classes
    ]
    return {f'{space.name}_cvat.json': json.dumps(entries, indent=1) + '\n'}


def _foxglove(space: LabelSpace) -> dict[str, str]:
    """The text of a Markdown panel of Foxglove: the legend of the colours."""
    return {f'{space.name}_legend.md': legend(space)}


def legend(space: LabelSpace) -> str:
    """Write the colour of each class as Markdown.

    Args:
        space: The classes.

    Returns:
        A table.
    """
    rows = [
        '| {} | {} | #{:02x}{:02x}{:02x} |'.format(each.id, each.name, *each.color)
        for each in space.classes
    ]
    return '\n'.join(['| id | class | colour |', '|---|---|---|', *rows]) + '\n'


FORMS: Mapping[str, Callable[[LabelSpace], dict[str, str]]] = MappingProxyType(
    {
        'hydra': _hydra,
        'nav2': _nav2,
        'autoware': _autoware,
        'rerun': _rerun,
        'foxglove': _foxglove,
        'cvat': _cvat,
    }
)
"""Tool -> what writes its files."""
