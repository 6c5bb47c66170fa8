"""Cityscapes: 2048x1024, 2975 training and 500 validation frames, labels of `gtFine`.

    leftImg8bit/{train,val}/<city>/<city>_<sequence>_<frame>_leftImg8bit.png
    gtFine/{train,val}/<city>/<city>_<sequence>_<frame>_gtFine_{labelIds,labelTrainIds}.png

Files of train ids exist only where the owner has made them; where they do not, the published
label ids are mapped. Facts: Cordts et al., "The Cityscapes Dataset", CVPR 2016, and the data
set's list of labels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.labels import UNLABELED, apply_mapping
from sam_ad_perception.core.sensors import Modality
from training.frames.benchmark_protocol import BenchmarkProtocol
from training.frames.frame import LabelledFrame, bundle_in_view
from training.frames.image_files import read_rgb
from training.frames.image_folders import (
    DatasetError,
    DatasetLayout,
    FrameFiles,
    first_existing,
    label_table,
    sorted_files,
)
from training.frames.label_images import read_ids

LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The published label id of each train id, from 0 (road) to 18 (bicycle)."""
MOST_LABEL_ID = 33
MOST_VOID = 0.5
"""Share of pixels of void classes above which a picture without higher ids holds train ids."""
_TABLE = label_table({label: train for train, label in enumerate(LABEL_IDS)})
_IMAGE, _TRAIN_IDS, _LABEL_IDS = (
    '_leftImg8bit.png',
    '_gtFine_labelTrainIds.png',
    '_gtFine_labelIds.png',
)


def find_frames(root: Path, split: str) -> list[FrameFiles]:
    """See `DatasetLayout.find`."""
    frames = []
    for image in sorted_files(root / 'leftImg8bit' / split, f'*/*{_IMAGE}'):
        name = image.name.removesuffix(_IMAGE)
        folder = root / 'gtFine' / split / image.parent.name
        labels = first_existing(folder / f'{name}{end}' for end in (_TRAIN_IDS, _LABEL_IDS))
        if not labels.exists():
            labels = folder / f'{name}{_LABEL_IDS}'
        frames.append(FrameFiles(name, {'camera': image, 'labels': labels}))
    return frames


def read_frame(files: FrameFiles) -> LabelledFrame:
    """See `DatasetLayout.read`."""
    path = files.files['labels']
    labels = read_ids(path)
    if path.name.endswith(_LABEL_IDS):
        _check_label_ids(labels, path)
        labels = apply_mapping(labels, _TABLE)
    bundle = bundle_in_view({Modality.CAMERA: read_rgb(files.files['camera'])})
    return LabelledFrame(files.name, bundle, labels)


def _check_label_ids(labels: NDArray[np.uint8], path: Path) -> None:
    """Refuse train ids in a file that is named as one of label ids."""
    counts = np.bincount(labels.reshape(-1), minlength=256)
    highest = int(labels.max())
    # label ids below 19 are mostly void (vehicle, border, ground, rails), train ids never are
    void = counts[[i for i in range(19) if i not in LABEL_IDS]].sum() / labels.size
    why = ''
    if counts[UNLABELED]:
        why = f'holds {UNLABELED}, which label ids never do'
    elif highest > MOST_LABEL_ID:
        why = f'holds {highest}, label ids end at {MOST_LABEL_ID}'
    elif highest < len(LABEL_IDS) and void > MOST_VOID:
        why = f'has no id above {highest}, and {void:.0%} of its pixels would be of void classes'
    if why:
        raise DatasetError(
            f'{path} is named as a file of label ids but {why}: it holds train ids, whose files '
            f'end with {_TRAIN_IDS}'
        )


LAYOUT = DatasetLayout(
    'cityscapes',
    'cityscapes',
    {'train': 2975, 'val': 500},
    find_frames,
    read_frame,
    {'test': 'the labels of Cityscapes test were never published, its files hold none'},
    _LABEL_IDS,
    own_ids=False,
    protocol=BenchmarkProtocol('evalPixelLevelSemanticLabeling of cityscapesScripts'),
)
