"""Small data sets of noise in the published layouts, to run code that needs a data set.

`fabricate` writes one; `training.smoke` trains on it. Labels are of every class in turn, so that
no loss is empty.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SIZE = (72, 96)
"""Size `(H, W)` of the pictures, pixels."""
_BLOCK = 12

Writer = Callable[[Path, str, int, np.random.Generator], None]


def fabricate(
    name: str, root: Path, splits: tuple[str, ...], frames: int = 3, seed: int = 0
) -> None:
    """Write some frames of noise as a data set was published.

    Args:
        name: One of `WRITERS`.
        root: Folder; it is made.
        splits: Which splits.
        frames: In each.
        seed: Of the noise.

    Raises:
        ValueError: Nothing writes this data set.
        OSError: A file cannot be written.
    """
    if name not in WRITERS:
        raise ValueError(f'name must be one of {sorted(WRITERS)}, got {name!r}')
    rng = np.random.default_rng(seed)
    for split in dict.fromkeys(splits):
        for number in range(frames):
            WRITERS[name](root, split, number, rng)


def _write(path: Path, image: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image):
        raise OSError(f'{path} cannot be written')


def _colours(rng: np.random.Generator, width: int = SIZE[1]) -> NDArray[np.uint8]:
    return rng.integers(0, 256, (SIZE[0], width, 3), dtype=np.uint8)


def _grey(rng: np.random.Generator, width: int = SIZE[1]) -> NDArray[np.uint8]:
    return rng.integers(0, 256, (SIZE[0], width), dtype=np.uint8)


def _ids(low: int, high: int, width: int = SIZE[1]) -> NDArray[np.uint8]:
    """Blocks (H, W) of the ids from `low` to before `high`, in turn."""
    rows, columns = np.indices((SIZE[0], width)) // _BLOCK
    return (low + (rows * (width // _BLOCK) + columns) % (high - low)).astype(np.uint8)


def _cityscapes(root: Path, split: str, number: int, rng: np.random.Generator) -> None:
    stem = f'here_000000_{number:06d}'
    _write(root / 'leftImg8bit' / split / 'here' / f'{stem}_leftImg8bit.png', _colours(rng))
    _write(root / 'gtFine' / split / 'here' / f'{stem}_gtFine_labelTrainIds.png', _ids(0, 19))


def _bdd100k(root: Path, split: str, number: int, rng: np.random.Generator) -> None:
    _write(root / 'images/10k' / split / f'{number}.jpg', _colours(rng))
    _write(root / 'labels/sem_seg/masks' / split / f'{number}.png', _ids(0, 19))


def _camvid(root: Path, split: str, number: int, rng: np.random.Generator) -> None:
    _write(root / split / f'{number}.png', _colours(rng))
    _write(root / f'{split}annot' / f'{number}.png', _ids(0, 12))


def _mfnet(root: Path, split: str, number: int, rng: np.random.Generator) -> None:
    name = f'{split}{number:05d}D'
    image = np.dstack([_colours(rng), _grey(rng)])
    _write(root / 'images' / f'{name}.png', image)
    _write(root / 'labels' / f'{name}.png', _ids(0, 9))
    with (root / f'{split}.txt').open('a') as stream:
        stream.write(f'{name}\n')


def _fmb(root: Path, split: str, number: int, rng: np.random.Generator) -> None:
    name = f'{number:05d}.png'
    _write(root / split / 'Visible' / name, _colours(rng))
    _write(root / split / 'Infrared' / name, _grey(rng))
    _write(root / split / 'Label' / name, _ids(0, 15))


def _deliver(root: Path, split: str, number: int, rng: np.random.Generator) -> None:
    for folder, word in (('img', 'rgb'), ('hha', 'depth'), ('event', 'event'), ('lidar', 'lidar')):
        path = root / folder / 'cloud' / split / 'MAP_1_point2' / f'{number:06d}_{word}_front.png'
        _write(path, _colours(rng))
    labels = root / 'semantic/cloud' / split / 'MAP_1_point2' / f'{number:06d}_semantic_front.png'
    _write(labels, np.repeat(_ids(1, 26)[..., None], 3, axis=2))


def _muses_projected(root: Path, split: str, number: int, rng: np.random.Generator) -> None:
    place, scene = Path(split) / 'clear/day', f'REC0001_frame_{number:06d}'
    image = root / 'frame_camera' / place / f'{scene}_frame_camera.png'
    _write(image, _colours(rng))
    _write(root / 'gt_semantic' / place / f'{scene}_gt_labelTrainIds.png', _ids(0, 19))
    for folder in ('lidar', 'event_camera'):
        path = root / 'projected_to_rgb' / folder / place / f'{scene}_{folder}.npz'
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, rng.uniform(0, 40, (*SIZE, 3)).astype(np.float32))


def _mcubes(root: Path, split: str, number: int, rng: np.random.Generator) -> None:
    base, name, width = root / 'multimodal_dataset', f'{split}{number}', 192 + SIZE[1]
    _write(base / 'polL_color' / f'{name}.png', _colours(rng, width))
    _write(base / 'NIR_warped' / f'{name}.png', _grey(rng, width))
    _write(base / 'GT' / f'{name}.png', _ids(0, 20, width))
    for folder in ('polL_aolp_sin', 'polL_aolp_cos', 'polL_dolp'):
        (base / folder).mkdir(parents=True, exist_ok=True)
        np.save(base / folder / f'{name}.npy', rng.uniform(-1, 1, (SIZE[0], width)))
    (base / 'list_folder').mkdir(exist_ok=True)
    with (base / 'list_folder' / f'{split}.txt').open('a') as stream:
        stream.write(f'{name}\n')


WRITERS: dict[str, Writer] = {
    'bdd100k': _bdd100k,
    'camvid': _camvid,
    'cityscapes': _cityscapes,
    'deliver': _deliver,
    'fmb15': _fmb,
    'mcubes': _mcubes,
    'mfnet': _mfnet,
    'muses_projected': _muses_projected,
}
"""The data sets that can be fabricated, by their name on the command line."""
