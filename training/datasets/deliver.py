"""DELIVER: camera, depth, event camera and lidar from CARLA, 1042x1042, 3983/2005/1897 frames.

    {img,hha,event,lidar,semantic}/{cloud,fog,night,rain,sun}/{train,val,test}/MAP_x_pointy/
        NNNNNN_{rgb,depth,event,lidar,semantic}_front.png

All are pictures in the camera's view; the depth input of the published networks is the HHA
encoding in `hha/`, whose files are named like the depth images beside it. Frames of some sensor
failures have smaller event pictures, which are enlarged to the nearest pixel. Facts: Zhang et
al., "Delivering Arbitrary-Modal Semantic Segmentation", CVPR 2023, and its loader.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import Modality
from training.frames.benchmark_protocol import ZERO, BenchmarkProtocol
from training.frames.frame import LabelledFrame, bundle_in_view
from training.frames.image_files import read_rgb
from training.frames.image_folders import DatasetLayout, FrameFiles, sorted_files
from training.frames.label_images import read_ids

CONDITIONS = ('cloud', 'fog', 'night', 'rain', 'sun')
CASES = ('motionblur', 'overexposure', 'underexposure', 'lidarjitter', 'eventlowres')
_FOLDERS = {
    Modality.DEPTH: ('hha', 'depth'),
    Modality.EVENT: ('event', 'event'),
    Modality.LIDAR: ('lidar', 'lidar'),
}
_END = '_rgb_front.png'


def find_frames(root: Path, split: str) -> list[FrameFiles]:
    """See `DatasetLayout.find`."""
    frames = []
    for image in sorted_files(root / 'img', f'*/{split}/*/*{_END}'):
        place = image.relative_to(root / 'img')  # names above the root must not be read as cases
        number = image.name.removesuffix(_END)
        others = {
            str(modality): root / folder / place.parent / f'{number}_{word}_front.png'
            for modality, (folder, word) in _FOLDERS.items()
        }
        labels = root / 'semantic' / place.parent / f'{number}_semantic_front.png'
        frames.append(
            FrameFiles(
                f'{place.parent.as_posix()}/{number}',
                {'camera': image, **others, 'labels': labels},
                place.parts[0] if place.parts[0] in CONDITIONS else '',
                next((case for case in CASES if case in place.as_posix()), ''),
            )
        )
    return frames


def read_frame(files: FrameFiles) -> LabelledFrame:
    """See `DatasetLayout.read`."""
    colour = read_rgb(files.files['camera'])
    images = {Modality.CAMERA: colour}
    for modality in _FOLDERS:
        images[modality] = read_rgb(files.files[str(modality)])
    event = images[Modality.EVENT]
    if event.shape != colour.shape:
        whole = (colour.shape[1], colour.shape[0])
        images[Modality.EVENT] = np.asarray(
            cv2.resize(event, whole, interpolation=cv2.INTER_NEAREST), np.uint8
        )
    labels = shift_ids(read_ids(files.files['labels'], first_channel=True))
    return LabelledFrame(files.name, bundle_in_view(images), labels, files.condition, files.case)


def shift_ids(ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Make train ids of the published ones: 1..25 become 0..24, 0 and 255 become 255.

    Args:
        ids: (H, W) uint8.

    Returns:
        The same shape.
    """
    return np.where(ids == 255, 0, ids).astype(np.uint8) - np.uint8(1)  # 0 wraps around to 255


LAYOUT = DatasetLayout(
    'deliver',
    'deliver',
    {'train': 3983, 'val': 2005, 'test': 1897},
    find_frames,
    read_frame,
    label_suffix='_semantic_front.png',
    own_ids=False,
    protocol=BenchmarkProtocol('semseg/metrics.py of its code', ZERO, size=(1024, 1024)),
)
