"""BDD100K semantic segmentation: 1280x720, 7000 training and 1000 validation frames.

    images/10k/{train,val}/<name>.jpg with labels/sem_seg/masks/{train,val}/<name>.png
    images/10k/{train,val}/<name>.jpg with labels/sem_seg/{train,val}/<name>_train_id.png (old)

Labels are the 19 train ids of Cityscapes, 255 unlabeled. Facts: Yu et al., "BDD100K", CVPR 2020,
and the data set's documentation.
"""

from __future__ import annotations

from pathlib import Path

from sam_ad_perception.core.sensors import Modality
from training.frames.benchmark_protocol import IN_TRUTH, BenchmarkProtocol
from training.frames.frame import LabelledFrame, bundle_in_view
from training.frames.image_files import read_rgb
from training.frames.image_folders import (
    DatasetLayout,
    FrameFiles,
    first_existing,
    sorted_files,
)
from training.frames.label_images import read_ids

_OLD_END = '_train_id.png'


def find_frames(root: Path, split: str) -> list[FrameFiles]:
    """See `DatasetLayout.find`."""
    old = root / 'labels' / 'sem_seg' / split
    new = root / 'labels' / 'sem_seg' / 'masks' / split
    frames = []
    for image in sorted_files(root / 'images' / '10k' / split, '*.jpg'):
        labels = first_existing([new / f'{image.stem}.png', old / f'{image.stem}{_OLD_END}'])
        frames.append(FrameFiles(image.stem, {'camera': image, 'labels': labels}))
    return frames


def read_frame(files: FrameFiles) -> LabelledFrame:
    """See `DatasetLayout.read`."""
    bundle = bundle_in_view({Modality.CAMERA: read_rgb(files.files['camera'])})
    return LabelledFrame(files.name, bundle, read_ids(files.files['labels']))


LAYOUT = DatasetLayout(
    'bdd100k',
    'bdd100k',
    {'train': 7000, 'val': 1000},
    find_frames,
    read_frame,
    {'test': 'the labels of BDD100K test are withheld'},
    protocol=BenchmarkProtocol('bdd100k/eval/seg.py of its toolkit', IN_TRUTH),
)
