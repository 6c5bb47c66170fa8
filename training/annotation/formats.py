"""The table of formats for annotation tools."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from sam_ad_perception.core.console.suggestions import nearest
from training.annotation.coco import CocoWriter, has_coco, read_coco
from training.annotation.cvat import CvatWriter, has_cvat, read_cvat
from training.annotation.exchange import MaskFormat
from training.annotation.label_studio import LabelStudioWriter, has_tasks, read_tasks
from training.annotation.picture_formats import (
    CityscapesWriter,
    IdWriter,
    VocWriter,
    has_cityscapes,
    has_ids,
    has_voc,
    read_cityscapes,
    read_id_folder,
    read_voc,
)
from training.frames.frame import DatasetError

_VOID = 'void is what no class covers'
FORMATS: Mapping[str, MaskFormat] = MappingProxyType(
    {
        each.name: each
        for each in (
            MaskFormat(
                'masks',
                IdWriter,
                read_id_folder,
                has_ids,
                'nothing is lost; few tools read ids without colours',
            ),
            MaskFormat(
                'voc',
                VocWriter,
                read_voc,
                has_voc,
                'void and background are one; instances and overlaps are not held',
                by_colour=True,
            ),
            MaskFormat(
                'cityscapes',
                CityscapesWriter,
                read_cityscapes,
                has_cityscapes,
                'the 19 classes of Cityscapes alone; all void classes are one',
                by_colour=True,
            ),
            MaskFormat(
                'coco',
                CocoWriter,
                read_coco,
                has_coco,
                f'{_VOID}; of overlapping annotations the later one counts; polygons lose pixels '
                'at edges, run lengths do not',
            ),
            MaskFormat(
                'cvat',
                CvatWriter,
                read_cvat,
                has_cvat,
                f'{_VOID}; of overlapping shapes the one with the higher z_order counts; polygons '
                'lose pixels at edges',
            ),
            MaskFormat(
                'labelstudio',
                LabelStudioWriter,
                read_tasks,
                has_tasks,
                f'{_VOID}; of overlapping brushes the later one counts; only submitted '
                'annotations come back',
            ),
        )
    }
)


def find_format(folder: Path, name: str = '') -> MaskFormat:
    """Tell in which format masks lie in a folder.

    Args:
        folder: The folder.
        name: Of the format, where the user says it.

    Returns:
        The format.

    Raises:
        DatasetError: The folder does not hold it, holds none, or holds several.
    """
    if not folder.is_dir():
        raise DatasetError(f'{folder} is not a folder; unpack the export of the tool first')
    if name:
        if not FORMATS[name].is_in(folder):
            raise DatasetError(f'{folder} holds no masks in the format {name}')
        return FORMATS[name]
    found = [each for each in FORMATS.values() if each.is_in(folder)]
    if not found:
        inside = sorted(path.name for path in folder.iterdir())[:8]
        known = {'JPEGImages', 'SegmentationClass', 'gtFine', 'annotations', 'masks'}
        near = [each for each in (nearest(name, known) for name in inside) if each]
        meant = f'; is {near[0]} meant?' if near else ''
        raise DatasetError(f'{folder} holds no masks in a known format, but {inside}{meant}')
    if len(found) > 1:
        names = ', '.join(each.name for each in found)
        raise DatasetError(f'{folder} holds masks as {names}: say which with --format')
    return found[0]
