"""MFNet: camera and thermal camera by day and night, 640x480, 784/392/393 frames.

    images/<name>.png        colour and thermal as four channels (as published)
    rgb/<name>.jpg           with ther/<name>.jpg, or
    visible/<name>.png       with infrared/<name>.png
    labels/ or label/        <name>.png, ids 0 (unlabeled, a class of its own) to 8
    {train,val,test}.txt     names

The published list of the training split also names mirrored copies (`_flip`), which are left out:
augmentation mirrors. Names end with D by day and N by night. Facts: Ha et al., "MFNet", IROS 2017.
Some later work calls `test.txt` its validation; here a split is what its list says.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sam_ad_perception.core.sensors import Modality
from training.frames.benchmark_protocol import ZERO, BenchmarkProtocol
from training.frames.frame import LabelledFrame, bundle_in_view
from training.frames.image_files import read_grey, read_image, read_rgb
from training.frames.image_folders import (
    DatasetError,
    DatasetLayout,
    FrameFiles,
    first_existing,
    read_list,
)
from training.frames.label_images import read_ids

_TIMES = {'D': 'day', 'N': 'night'}
_PAIRS = (('rgb', 'ther'), ('visible', 'infrared'))
_SPLITS = ('train', 'val', 'test')


def find_frames(root: Path, split: str) -> list[FrameFiles]:
    """See `DatasetLayout.find`."""
    names = _names(root, split)
    others = {other: _names(root, other) for other in _SPLITS if other != split}
    for other, listed in others.items():
        shared = sorted(set(names) & set(listed))
        if shared:
            raise DatasetError(
                f'{root}/{split}.txt and {other}.txt share {len(shared)} frames, first {shared[0]}'
            )
    labels = first_existing([root / 'labels', root / 'label'])
    return [
        FrameFiles(
            name,
            {**dict(_images(root, name)), 'labels': labels / f'{name}.png'},
            _TIMES.get(name[-1:], ''),
        )
        for name in names
    ]


def _names(root: Path, split: str) -> list[str]:
    path = root / f'{split}.txt'
    return [n for n in read_list(path) if not n.endswith('_flip')] if path.exists() else []


def _images(root: Path, name: str) -> Iterator[tuple[str, Path]]:
    for colour, thermal in _PAIRS:
        if (root / colour).is_dir():
            for role, folder in (('camera', colour), ('thermal', thermal)):
                yield role, first_existing(root / folder / f'{name}{e}' for e in ('.png', '.jpg'))
            return
    yield 'camera', root / 'images' / f'{name}.png'


def read_frame(files: FrameFiles) -> LabelledFrame:
    """See `DatasetLayout.read`."""
    path = files.files['camera']
    if 'thermal' in files.files:
        colour, thermal = read_rgb(path), read_grey(files.files['thermal'])
    else:
        image = read_image(path)
        if image.ndim != 3 or image.shape[2] != 4 or image.dtype != np.uint8:
            raise DatasetError(f'{path} has shape {image.shape}, expected four channels of 8 bits')
        colour = np.ascontiguousarray(image[:, :, 2::-1])
        thermal = np.ascontiguousarray(image[:, :, 3])
    bundle = bundle_in_view({Modality.CAMERA: colour, Modality.THERMAL: thermal})
    return LabelledFrame(files.name, bundle, read_ids(files.files['labels']), files.condition)


LAYOUT = DatasetLayout(
    'mfnet',
    'mfnet',
    {'train': 784, 'val': 392, 'test': 393},
    find_frames,
    read_frame,
    protocol=BenchmarkProtocol('util/util.py of RTFNet, which later work took over', ZERO),
)
