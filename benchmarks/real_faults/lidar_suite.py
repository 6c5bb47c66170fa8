"""Sweeps and what befalls them: KITTI, a street at walking pace, and the table of faults."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.real_faults import lidar_damage as damage
from benchmarks.real_faults.faults import Damage, Fault, FrameDamage, Half, each, steady
from benchmarks.real_faults.recordings import Recording
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.core.messages.from_ros import frame_from_message
from sam_ad_perception.core.sensors import Modality, PointCloud


def _on_points(work: FrameDamage) -> FrameDamage:
    """Damage the points of a sweep."""

    def apply(cloud: PointCloud, severity: int, rng: np.random.Generator) -> PointCloud:
        return PointCloud(np.ascontiguousarray(work(cloud.points, severity, rng)))

    return apply


def _fault(half: Half, damaged: Damage, name: str, *causes: str) -> Fault:
    return Fault(name, half, frozenset(causes), damaged)


def _anew(name: str) -> Damage:
    return each(_on_points(getattr(damage, name)))


def _same(name: str) -> Damage:
    return steady(_on_points(getattr(damage, name)))


FAULTS = (
    _fault('looked_at', _same('front_blocked'), 'front_blocked', 'blocked'),
    _fault('looked_at', _same('dirt'), 'dirt', 'dirty', 'short_range'),
    _fault('looked_at', _anew('packets_lost'), 'packets_lost', 'lost_packets'),
    _fault('looked_at', _anew('snow'), 'snow', 'clutter', 'short_range'),
    _fault('looked_at', _same('rings_dead'), 'rings_dead', 'dead_rings'),
    _fault('looked_at', _same('turned'), 'turned', 'turned'),
    _fault('looked_at', _same('pitched'), 'pitched', 'tilted'),
    _fault('measured_only', _anew('fog'), 'fog', 'clutter', 'short_range'),
    _fault('measured_only', _anew('crosstalk'), 'crosstalk', 'clutter'),
    _fault('measured_only', _anew('left_blocked'), 'left_blocked', 'blocked'),
    _fault('measured_only', _same('slices_lost'), 'slices_lost', 'lost_packets', 'blocked'),
    _fault('measured_only', _same('ring_block_dead'), 'ring_block_dead', 'dead_rings'),
    _fault('measured_only', _same('mirrored'), 'mirrored', 'mirrored', 'turned'),
    _fault('measured_only', _same('rolled'), 'rolled', 'tilted'),
    _fault('measured_only', _same('raised'), 'raised', 'height'),
    _fault('measured_only', _same('millimetres'), 'millimetres', 'cloud.unit', 'unit'),
)


def faults() -> tuple[Fault, ...]:
    """The faults of sweeps; their half was chosen by name, before anything was measured."""
    return FAULTS


def faulty_clips(data: Path) -> list[Recording]:
    """Recordings that faults befall.

    Args:
        data: Folder of the sample data.
    """
    found = []
    if (data / 'health/street_lidar_10hz.npz').exists():
        load = partial(_read_sweeps, data / 'health/street_lidar_10hz.npz')
        found.append(Recording('street', 'street', 10.0, load, head=5))
    if (data / 'kitti/bag').is_dir():
        found.append(
            Recording('kitti', 'kitti', 10.0, partial(_read_bag, data / 'kitti/bag'), head=4)
        )
    return found


def healthy_recordings(data: Path) -> list[Recording]:
    """Everything healthy, whole, in which any finding is a false alarm.

    Args:
        data: Folder of the sample data.
    """
    found = faulty_clips(data)
    singles = sorted((data / 'kitti/frames/velodyne').glob('*.bin'))
    if singles:
        load = partial(_read_files, singles)
        found.append(Recording('kitti one by one', 'kitti', 10.0, load, still=True))
    if (data / 'opencalib/points.npz').exists():
        load = partial(_read_opencalib, data / 'opencalib/points.npz')
        found.append(Recording('opencalib', 'opencalib', 10.0, load, still=True))
    return found


def _read_sweeps(path: Path) -> list[Any]:
    with np.load(path) as stored:
        return [PointCloud(np.array(stored[name])) for name in sorted(stored.files)]


def _read_files(paths: list[Path]) -> list[Any]:
    sweeps = (np.fromfile(path, np.float32).reshape(-1, 4) for path in paths)
    return [PointCloud(np.ascontiguousarray(each[:, :3])) for each in sweeps]


def _read_opencalib(path: Path) -> list[Any]:
    with np.load(path) as stored:
        return [PointCloud(np.ascontiguousarray(stored['xyz'], np.float32))]


def _read_bag(path: Path) -> list[Any]:
    with BagReader(path) as reader:
        topics = [t.name for t in reader.topics if t.type.endswith('PointCloud2')]
        messages = map(reader.deserialize, reader.messages(topics))
        return [frame_from_message(each, Modality.LIDAR).data for each in messages]
