import numpy as np
import pytest

from sam_ad_perception.core.labels import UNLABELED
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig
from sam_ad_perception.simulation.street.plan import HEIGHT

SIZES = {'size': (100, 160), 'thermal_size': (48, 64), 'event_size': (48, 64)}


@pytest.fixture(scope='module')
def drives():
    """The same street with and without the tunnel, which has its middle at 7.1 s."""
    return {
        scene: Drive(DriveConfig(seed=7, duration_s=14.0, scene=scene, condition='rain', **SIZES))
        for scene in ('street', 'tunnel')
    }


def _at(drive, seconds):
    return drive.config.start_ns + round(seconds * 1e9)


def test_it_rains_before_and_after_but_not_inside(drives):
    drive = drives['tunnel']
    names = [drive.condition_name(_at(drive, s)) for s in (1.0, 7.1, 12.0)]
    assert names == ['rain', 'tunnel', 'rain']
    assert drive.condition(_at(drive, 7.1)).rain == 0.0
    assert drive.condition(_at(drive, 1.0)) == drives['street'].condition(_at(drive, 1.0))


def test_inside_it_is_dark_but_the_way_out_is_bright(drives):
    drive, stamp_ns = drives['tunnel'], _at(drives['tunnel'], 7.1)
    inside = drives['tunnel'].measure('camera', stamp_ns).data
    outside = drives['street'].measure('camera', stamp_ns).data
    labels = drive.truth(stamp_ns).labels
    roof, sky = labels == UNLABELED, labels == 10
    assert inside[roof].mean() < 0.6 * outside[roof].mean()
    assert sky.sum() > 50
    assert inside[sky].mean() > 0.8 * outside[sky].mean()


def test_walls_and_roof_are_void_and_as_far_as_the_lidar_says(drives):
    drive = drives['tunnel']
    stamp_ns = _at(drive, 7.1)
    tunnel, truth = drive.scene.tunnel, drive.truth(stamp_ns)
    assert (truth.labels[:10] == UNLABELED).mean() > 0.9
    sweep = drive.measure_sweep(stamp_ns)
    points = sweep.cloud.points[sweep.label == UNLABELED]
    T = drive.pose(stamp_ns) @ drive.T_base['lidar']
    world = points @ T[:3, :3].T + T[:3, 3]
    poses = drive.scene.road.poses(world[:, 0], np.zeros(len(world)))
    lateral = (world[:, 1] - poses[:, 1]) * np.cos(poses[:, 2])
    # The vehicle moves on by 0.8 m during a sweep; the walls bend between their segments.
    on_wall = (np.abs(lateral - tunnel.left) < 0.4) | (np.abs(lateral + tunnel.right) < 0.4)
    on_roof = np.abs(world[:, 2] - HEIGHT) < 0.35
    along = (world[:, 0] > tunnel.start - 1.5) & (world[:, 0] < tunnel.end + 1.5)
    assert len(points) > 1000
    assert np.mean((on_wall | on_roof)[along]) > 0.97


def test_behind_the_tunnel_the_street_is_that_of_the_seed(drives):
    stamp_ns = _at(drives['street'], 12.0)
    with_, without = (drives[s].truth(stamp_ns).labels for s in ('tunnel', 'street'))
    assert np.array_equal(with_, without)
