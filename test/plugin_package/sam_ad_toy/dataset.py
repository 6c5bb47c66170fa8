"""Frames of a camera and a radar that see the same: `<split>/<name>_{camera,radar,labels}.png`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sam_ad_perception.core.sensors import Modality
from training.frames.frame import LabelledFrame, bundle_in_view
from training.frames.image_files import read_grey, read_rgb
from training.frames.image_folders import DatasetLayout, FrameFiles, sorted_files
from training.frames.label_images import read_ids


def find_frames(root: Path, split: str) -> list[FrameFiles]:
    """See `DatasetLayout.find`."""
    found = []
    for camera in sorted_files(root / split, '*_camera.png'):
        name = camera.name.removesuffix('_camera.png')
        files = {role: camera.with_name(f'{name}_{role}.png') for role in ('radar', 'labels')}
        found.append(FrameFiles(name, {'camera': camera, **files}))
    return found


def read_frame(files: FrameFiles) -> LabelledFrame:
    """See `DatasetLayout.read`."""
    power = np.asarray(read_grey(files.files['radar']), np.uint8)
    images = {Modality.CAMERA: read_rgb(files.files['camera']), Modality('radar'): power}
    return LabelledFrame(files.name, bundle_in_view(images), read_ids(files.files['labels']))


TOY_FRAMES = DatasetLayout(
    'toy_frames',
    'cityscapes',
    {'train': 4, 'val': 2},
    find_frames,
    read_frame,
    label_suffix='_labels.png',
)
