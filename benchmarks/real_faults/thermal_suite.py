"""Thermal pictures and what befalls them: two Lepton streams, single pictures, the faults."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.real_faults import thermal_damage as damage
from benchmarks.real_faults.faults import Damage, Fault, Half, each, steady
from benchmarks.real_faults.recordings import Recording

LEPTON_HZ = 9.0


def _fault(half: Half, damaged: Damage, name: str, *causes: str) -> Fault:
    return Fault(name, half, frozenset(causes), damaged)


FAULTS = (
    _fault('looked_at', each(damage.zeros), 'zeros', 'zeros'),
    _fault('looked_at', each(damage.covered), 'covered', 'covered'),
    _fault('looked_at', each(damage.inverted), 'inverted', 'inverted'),
    _fault('looked_at', damage.frozen_with_noise, 'frozen_with_noise', 'frozen'),
    _fault('looked_at', each(damage.rows_lost), 'rows_lost', 'lost_rows', 'zeros'),
    _fault('looked_at', each(damage.stuck_gain), 'stuck_gain', 'gain', 'low_contrast',
           'saturated'),
    _fault('measured_only', each(damage.swapped_bytes), 'swapped_bytes', 'image.byte_order',
           'byte_order'),
    _fault('measured_only', each(damage.zero_region), 'zero_region', 'zeros', 'lost_rows',
           'covered'),
    _fault('measured_only', each(damage.rows_repeated), 'rows_repeated', 'lost_rows'),
    _fault('measured_only', steady(damage.columns_stuck), 'columns_stuck', 'stuck_columns',
           'lost_rows'),
    _fault('measured_only', steady(damage.wet_window), 'wet_window', 'covered'),
    _fault('measured_only', damage.frozen_part, 'frozen_part', 'frozen', 'frozen_part'),
)  # fmt: skip


def faults() -> tuple[Fault, ...]:
    """The faults of thermal pictures; their half was chosen by name, before any measurement."""
    return FAULTS


def faulty_clips(data: Path) -> list[Recording]:
    """Streams that faults befall.

    Args:
        data: Folder of the sample data.
    """
    return [
        Recording(name, 'lepton', LEPTON_HZ, partial(_read_frames, path, count), head=40)
        for name, count in (('possum', 100), ('street', 99))
        if (path := data / f'health/lepton_{name}_9hz.npz').exists()
    ]


def healthy_recordings(data: Path) -> list[Recording]:
    """Everything healthy, whole, in which any finding is a false alarm.

    Args:
        data: Folder of the sample data.
    """
    found = [
        Recording(f'lepton {name}', 'lepton', LEPTON_HZ, partial(_read_frames, path, None))
        for name in ('possum', 'street')
        if (path := data / f'health/lepton_{name}_9hz.npz').exists()
    ]
    for name, pattern in (
        ('msrs night', 'rgbt/msrs/ir/*'),
        ('roadscene', 'rgbt/roadscene/ir/*'),
        ('flir', 'thermal_radiometric/*.jpg'),
    ):
        paths = sorted(data.glob(pattern))
        if paths:
            found.append(Recording(name, name, 1.0, partial(_read_grey, paths), still=True))
    return found


def _read_frames(path: Path, count: int | None) -> list[Any]:
    with np.load(path) as stored:
        return list(stored['frames'][:count])


def _read_grey(paths: list[Path]) -> list[Any]:
    images = (cv2.imread(str(path), cv2.IMREAD_COLOR) for path in paths)
    return [np.ascontiguousarray(image[:, :, 1]) for image in images if image is not None]
