"""MCubeS: polarisation and near-infrared beside the camera, 1224x1024, 302/96/102 frames.

    polL_color/*.png, polL_aolp_sin/*.npy, polL_aolp_cos/*.npy, polL_dolp/*.npy,
    NIR_warped/*.png, GT/*.png; list_folder/{train,val,test}.txt

Its left 192 columns, which the other sensors do not see, are cut off. The colour picture is
given in 8 bits, as cameras of vehicles deliver it. The angle of polarisation is the picture
(sin, cos, sin), its degree and the near-infrared are repeated three times. Labels are 20
materials. Facts: Liang et al., "Multimodal Material Segmentation", CVPR 2022, and its loader.
Some later work calls `test.txt` its validation; here a split is what its list says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import Modality
from training.frames.benchmark_protocol import BenchmarkProtocol
from training.frames.frame import LabelledFrame, bundle_in_view
from training.frames.image_files import read_grey, read_image
from training.frames.image_folders import (
    DatasetError,
    DatasetLayout,
    FrameFiles,
    first_existing,
    read_list,
)
from training.frames.label_images import read_ids

CUT = 192
"""Columns that are cut off at the left, pixels."""
_SPLITS = {'train': 302, 'val': 96, 'test': 102}
_FOLDERS = {
    'camera': ('polL_color', '.png'),
    'aolp_sin': ('polL_aolp_sin', '.npy'),
    'aolp_cos': ('polL_aolp_cos', '.npy'),
    'dolp': ('polL_dolp', '.npy'),
    'nir': ('NIR_warped', '.png'),
    'labels': ('GT', '.png'),
}


def find_frames(root: Path, split: str) -> list[FrameFiles]:
    """See `DatasetLayout.find`."""
    base = first_existing([root / 'multimodal_dataset', root])
    lists = {each: base / 'list_folder' / f'{each}.txt' for each in _SPLITS}
    if not lists[split].exists():
        return []
    names = read_list(lists[split])
    for other, path in lists.items():
        shared = sorted(set(names) & set(read_list(path))) if path.exists() else []
        if other != split and shared:
            raise DatasetError(
                f'{lists[split]} and {other}.txt share {len(shared)} frames, first {shared[0]}'
            )
    return [
        FrameFiles(
            name,
            {role: base / folder / f'{name}{end}' for role, (folder, end) in _FOLDERS.items()},
        )
        for name in names
    ]


def read_frame(files: FrameFiles) -> LabelledFrame:
    """See `DatasetLayout.read`."""
    colour = read_image(files.files['camera'])
    if colour.ndim != 3:
        raise DatasetError(f'{files.files["camera"]} has shape {colour.shape}, expected colours')
    colour = np.ascontiguousarray(_eight_bits(colour)[:, CUT:, 2::-1])
    sine, cosine, degree = (_array(files.files[r]) for r in ('aolp_sin', 'aolp_cos', 'dolp'))
    infrared = read_grey(files.files['nir'])
    infrared = infrared.astype(np.float32) / np.iinfo(infrared.dtype).max
    pictures: dict[str, NDArray[Any]] = {
        'aolp': np.stack([sine, cosine, sine], axis=2),
        'dolp': np.repeat(degree[:, :, None], 3, axis=2),
        'nir': np.repeat(infrared[:, :, None], 3, axis=2),
    }
    pictures = {name: np.ascontiguousarray(image[:, CUT:]) for name, image in pictures.items()}
    labels = np.ascontiguousarray(read_ids(files.files['labels'])[:, CUT:])
    bundle = bundle_in_view({Modality.CAMERA: colour})
    return LabelledFrame(files.name, bundle, labels, pictures=pictures)


def _eight_bits(image: NDArray[Any]) -> NDArray[np.uint8]:
    if image.dtype == np.uint8:
        return image
    return np.rint(image.astype(np.float32) * np.float32(255 / 65535)).astype(np.uint8)


def _array(path: Path) -> NDArray[np.float32]:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f'{path} cannot be read: {error}') from error
    if array.ndim == 3:
        array = array[:, :, 0]
    if array.ndim != 2:
        raise DatasetError(f'{path} has shape {array.shape}, expected (H, W)')
    return np.asarray(array, np.float32)


LAYOUT = DatasetLayout(
    'mcubes',
    'mcubes',
    _SPLITS,
    find_frames,
    read_frame,
    # its near-infrared mask weighs the loss, not the evaluation
    protocol=BenchmarkProtocol('utils/metrics.py of its code', centre=(1024, 1024)),
)
