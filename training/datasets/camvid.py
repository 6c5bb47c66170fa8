"""CamVid in the layout of SegNet: 480x360, 367/101/233 frames, 11 classes, 11 is unlabeled.

    {train,val,test}/<name>.png with {train,val,test}annot/<name>.png

Facts: Brostow et al., "Semantic object classes in video", 2009; the split of Badrinarayanan et
al., "SegNet", 2015.
"""

from __future__ import annotations

from pathlib import Path

from sam_ad_perception.core.labels import apply_mapping
from sam_ad_perception.core.sensors import Modality
from training.frames.benchmark_protocol import BenchmarkProtocol
from training.frames.frame import LabelledFrame, bundle_in_view
from training.frames.image_files import read_rgb
from training.frames.image_folders import (
    DatasetError,
    DatasetLayout,
    FrameFiles,
    label_table,
    sorted_files,
)
from training.frames.label_images import read_ids

_CLASSES = 11
_TABLE = label_table({label: label for label in range(_CLASSES)})


def find_frames(root: Path, split: str) -> list[FrameFiles]:
    """See `DatasetLayout.find`."""
    labels = root / f'{split}annot'
    return [
        FrameFiles(image.stem, {'camera': image, 'labels': labels / image.name})
        for image in sorted_files(root / split, '*.png')
    ]


def read_frame(files: FrameFiles) -> LabelledFrame:
    """See `DatasetLayout.read`."""
    path = files.files['labels']
    labels = read_ids(path)
    if labels.max() > _CLASSES:
        raise DatasetError(f'{path} has label id {labels.max()}, expected 0 to {_CLASSES}')
    bundle = bundle_in_view({Modality.CAMERA: read_rgb(files.files['camera'])})
    return LabelledFrame(files.name, bundle, apply_mapping(labels, _TABLE))


LAYOUT = DatasetLayout(
    'camvid',
    'camvid',
    {'train': 367, 'val': 101, 'test': 233},
    find_frames,
    read_frame,
    protocol=BenchmarkProtocol('that of SegNet, over 11 classes; all occur'),
)
