"""Label Studio: tasks with brushes, and the labelling interface that goes with them."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sam_ad_perception.core.labels import LabelSpace
from training.annotation.exchange import (
    Layers,
    Mask,
    Picture,
    ReadMask,
    class_ids,
    class_masks,
    collect,
    find_class,
    find_json,
    read_json,
    save_picture,
    stamp_in,
)
from training.annotation.run_lengths import decode_brush, encode_brush
from training.frames.frame import DatasetError

FILE, INTERFACE = 'tasks.json', 'label_config.xml'
CONTROL, OBJECT = 'brush', 'image'


class LabelStudioWriter:
    """Writes `images/`, `tasks.json` with the masks as predictions, and `label_config.xml`.

    Args:
        folder: Where to; what Label Studio serves as its local files is this folder.
        space: The classes.
        recording: Said as the version of the model.
    """

    def __init__(self, folder: Path, space: LabelSpace, recording: str) -> None:
        self._folder, self._space, self._recording = folder, space, recording
        self._tasks: list[dict[str, Any]] = []

    def add(self, stamp_ns: int, picture: Picture, mask: Mask) -> None:
        """See `exchange.MaskWriter`."""
        name = f'images/{stamp_ns}.png'
        save_picture(self._folder / name, picture)
        height, width = mask.shape
        result = [
            {
                'id': f'{stamp_ns}_{label}',
                'type': 'brushlabels',
                'from_name': CONTROL,
                'to_name': OBJECT,
                'original_width': width,
                'original_height': height,
                'image_rotation': 0,
                'value': {
                    'format': 'rle',
                    'rle': encode_brush(drawn),
                    'brushlabels': [self._space.names[label]],
                },
            }
            for label, drawn in class_masks(mask, self._space)
        ]
        self._tasks.append(
            {
                'data': {'image': f'/data/local-files/?d={name}', 'stamp': str(stamp_ns)},
                'predictions': [{'model_version': self._recording, 'result': result}],
            }
        )

    def finish(self) -> None:
        """See `exchange.MaskWriter`."""
        (self._folder / FILE).write_text(json.dumps(self._tasks))
        view = ET.Element('View')
        ET.SubElement(view, 'Image', {'name': OBJECT, 'value': '$image', 'zoom': 'true'})
        brush = ET.SubElement(view, 'BrushLabels', {'name': CONTROL, 'toName': OBJECT})
        for each in self._space.classes:
            colour = '#{:02x}{:02x}{:02x}'.format(*each.color)
            ET.SubElement(brush, 'Label', {'value': each.name, 'background': colour})
        ET.indent(view)
        ET.ElementTree(view).write(self._folder / INTERFACE, 'utf-8')


def find_tasks(folder: Path) -> list[Path]:
    """Find the JSON files of tasks in a folder.

    Args:
        folder: The folder.

    Returns:
        Those that are lists of tasks.
    """
    return find_json(
        folder.glob('*.json'),
        lambda content: (
            isinstance(content, list)
            and all(isinstance(each, dict) and 'data' in each for each in content)
        ),
    )


def has_tasks(folder: Path) -> bool:
    """Whether a folder holds tasks of Label Studio."""
    return bool(find_tasks(folder))


def read_tasks(folder: Path, space: LabelSpace) -> Mapping[int, ReadMask]:
    """Read what people drew: the newest annotation of each task; predictions are not truth.

    Args:
        folder: With an export as JSON.
        space: The classes.

    Returns:
        How to read the mask of each stamp; tasks without an annotation are left out.

    Raises:
        DatasetError: A file is damaged, or no task has an annotation.
    """
    ids = class_ids(space)
    found: list[tuple[int, Path, ReadMask]] = []
    tasks = 0
    for path in find_tasks(folder):
        for task in read_json(path):
            tasks += 1
            done = [a for a in task.get('annotations', ()) if not a.get('was_cancelled')]
            if not done:
                continue
            stamp_ns = _stamp(task['data'], path)
            newest = max(done, key=lambda each: str(each.get('updated_at', '')))
            where = f'{path}: {stamp_ns}'
            found.append((stamp_ns, path, _reader(newest.get('result', []), ids, where)))
    if not found:
        raise DatasetError(
            f'{folder} has {tasks} tasks and none of them an annotation: predictions are not '
            'truth, submit each task in Label Studio and export it as JSON'
        )
    return collect(found)


def _stamp(data: Mapping[str, Any], path: Path) -> int:
    if 'stamp' in data:
        return stamp_in(str(data['stamp']), path)
    return stamp_in(Path(str(data.get('image', ''))).stem, path)


def _reader(result: list[dict[str, Any]], ids: Mapping[str, int], where: str) -> ReadMask:
    def read() -> Mask:
        brushes = [each for each in result if each.get('type') == 'brushlabels']
        others = {str(each.get('type')) for each in result} - {'brushlabels'}
        if others or not brushes:
            raise DatasetError(
                f'{where} has {sorted(others) or "nothing"} drawn, expected brushes (brushlabels)'
            )
        try:
            first = brushes[0]
            layers = Layers((int(first['original_height']), int(first['original_width'])), where)
            for each in brushes:
                value = each['value']
                (name,) = value['brushlabels']
                drawn = decode_brush(value['rle'], layers.mask.shape)
                layers.put(find_class(name, ids, where), drawn)
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(f'{where}: {error}') from error
        return layers.mask

    return read
