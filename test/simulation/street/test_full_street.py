"""The full street: every class, nothing in the way, and the plain one beside it."""

from __future__ import annotations

import numpy as np
import pytest

from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig
from sam_ad_perception.simulation.raycasting.solids import COS, CX, CZ, HX, HZ, SIN
from sam_ad_perception.simulation.street.road import CROSSROAD_HALF, CROSSROADS

TINY = {'size': (100, 160), 'thermal_size': (32, 40), 'event_size': (25, 40)}


def test_all_classes_of_cityscapes_are_there() -> None:
    total = np.zeros(256, int)
    for seed in range(4):
        drive = Drive(DriveConfig(seed=seed, scene='full', **TINY))
        counts = np.zeros(256, int)
        for stamp in drive.frame_stamps('camera')[::5]:
            counts += np.bincount(drive.truth(stamp).labels.ravel(), minlength=256)
        assert np.count_nonzero(counts) >= 17
        assert counts[19:].sum() == 0
        total += counts
    assert np.all(total[:19] > 0)


def test_nothing_runs_into_the_vehicle() -> None:
    for seed in range(6):
        drive = Drive(DriveConfig(seed=seed, scene='full', **TINY))
        for stamp in drive.frame_stamps('camera')[::2]:
            geometry = drive._renderer.primitives(stamp).geometry
            eye = (drive.pose(stamp) @ drive.T_base['camera'])[:3, 3]
            offset = geometry[:, CX : CZ + 1] - eye
            c, s = geometry[:, COS], geometry[:, SIN]
            local = np.stack(
                [c * offset[:, 0] + s * offset[:, 1], c * offset[:, 1] - s * offset[:, 0]], axis=1
            )
            gap = np.maximum(abs(local) - geometry[:, HX : HX + 2], 0.0)
            low = geometry[:, CZ] - geometry[:, HZ] < 2.5
            assert np.hypot(*gap[low].T).min() > 0.4


def test_crossing_roads_are_road_and_bare() -> None:
    drive = Drive(DriveConfig(seed=1, scene='full', **TINY))
    road = drive.scene.road
    crossroads = road.parameters[CROSSROADS:]
    assert len(crossroads) > 0
    place = road.poses(crossroads, np.full(len(crossroads), 20.0))
    standing = drive.scene._static.geometry
    for x, y, _ in place:
        gap = np.hypot(standing[:, CX] - x, standing[:, CX + 1] - y)
        assert gap.min() > CROSSROAD_HALF - 2.0


def test_plain_street_is_the_default() -> None:
    plain, full = (Drive(DriveConfig(seed=1, scene=s, **TINY)) for s in ('street', 'full'))
    stamp = plain.frame_stamps('camera')[5]
    default = Drive(DriveConfig(seed=1, **TINY)).truth(stamp).labels
    assert np.array_equal(plain.truth(stamp).labels, default)
    assert not np.array_equal(full.truth(stamp).labels, default)
    with pytest.raises(ValueError, match='scene'):
        DriveConfig(scene='motorway')
