"""Healthy recordings of cameras, of the sample data or of a folder of the user's videos."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.real_faults.recordings import (
    CAMVID_RATE,
    Recording,
    read_camera_bag,
    read_pictures,
    read_video,
)

STANDING_FRAMES = 600


def faulty_clips(data: Path) -> list[Recording]:
    """Clips that faults befall: a highway by day, a town by day and at dusk, KITTI.

    Args:
        data: Folder of the sample data.
    """
    day = list(_rows(sorted((data / 'camvid/val').glob('0016E5_*.png')), step=2))
    dusk = sorted((data / 'camvid/train').glob('0001TP_*.png'))
    highway = data / 'health/highway_25hz.mp4'
    clips = [
        Recording('highway', 'highway', 25.0, partial(_cropped_video, highway), head=22),
        Recording('camvid day', 'camvid', 15.0, partial(read_pictures, day[0][:36]), head=16),
        # A picture a second: motion between them is as between any two pictures of a town.
        Recording('camvid dusk', 'camvid', 1.0, partial(read_pictures, dusk[20:47]), head=12),
    ] if day and dusk and highway.exists() else []  # fmt: skip
    if (data / 'kitti/bag').is_dir():
        load = partial(read_camera_bag, data / 'kitti/bag')
        clips.append(Recording('kitti', 'kitti', 10.0, load, head=3))
    return clips


def _cropped_video(path: Path) -> list[Any]:
    """The middle of the picture, for the packages' sake: the slowest fault takes seconds."""
    return [np.ascontiguousarray(image[100:460, 160:800]) for image in read_video(path, 40, 52)]


def healthy_recordings(data: Path) -> list[Recording]:
    """Everything healthy, whole, in which any finding is a false alarm.

    Args:
        data: Folder of the sample data.
    """
    found = [
        Recording(path.stem, path.stem, rate, partial(read_video, path, 0, STANDING_FRAMES))
        for path, rate in (
            (data / 'health/highway_25hz.mp4', 25.0),
            (data / 'health/standing_car-detection.mp4', 12.5),
            (data / 'health/standing_bottle-detection.mp4', 29.83),
        )
        if path.exists()
    ]
    for half in ('train', 'val'):
        for drive in ('0001TP', '0006R0', '0016E5'):
            paths = sorted((data / 'camvid' / half).glob(f'{drive}_*.png'))
            for step in (2, 30):
                for run in _rows(paths, step):
                    name = f'camvid {drive} {half} {_number(run[0])}'
                    rate = CAMVID_RATE / step
                    found.append(Recording(name, 'camvid', rate, partial(read_pictures, run)))
    if (data / 'kitti/bag').is_dir():
        load = partial(read_camera_bag, data / 'kitti/bag')
        found.append(Recording('kitti bag', 'kitti', 10.0, load))
    for name, pattern in (
        ('camvid one by one', 'camvid/[tv]*[nl]/*.png'),
        ('kitti one by one', 'kitti/frames/**/*.png'),
        ('opencalib', 'opencalib/*.jpg'),
        ('msrs night', 'rgbt/msrs/vi/*'),
        ('roadscene', 'rgbt/roadscene/vi/*'),
    ):
        paths = sorted(data.glob(pattern))
        if paths:
            load = partial(read_pictures, paths)
            found.append(Recording(name, name, 1.0, load, still=True))
    return found


def user_videos(folder: Path) -> list[Recording]:
    """Videos of a folder, taken to be healthy."""
    import cv2

    found = []
    for path in sorted(folder.rglob('*')):
        if path.suffix in ('.mp4', '.avi', '.mkv'):
            rate = cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) or 25.0
            found.append(Recording(path.name, folder.name, rate, partial(read_video, path)))
    return found


def _number(path: Path) -> int:
    return int(path.stem.rsplit('_', 1)[1].lstrip('f'))


def _rows(paths: list[Path], step: int) -> Iterator[list[Path]]:
    """Runs of pictures whose numbers are `step` apart, at least five long."""
    run: list[Path] = []
    for path in paths:
        if run and _number(path) - _number(run[-1]) != step:
            if len(run) >= 5:
                yield run
            run = []
        run.append(path)
    if len(run) >= 5:
        yield run
