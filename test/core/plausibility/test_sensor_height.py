"""Clouds in another unit are told by how far the ground lies below the camera."""

import numpy as np
import pytest

from sam_ad_perception.core.plausibility.config import PlausibilityConfig
from sam_ad_perception.core.plausibility.monitor import PlausibilityMonitor
from sam_ad_perception.core.plausibility.sensor_height import SensorHeight
from sam_ad_perception.core.sensors import (
    CameraModel,
    Modality,
    PointCloud,
    SensorBundle,
    SensorFrame,
)

UNITS = {'feet': 1 / 0.3048, 'inches': 1 / 0.0254, 'centimetres': 100.0, 'millimetres': 1000.0}
OUT = {'inches', 'centimetres', 'millimetres'}


def camera_at(x=0.0, y=0.0, z=0.0):
    """T_camera_lidar of a camera that looks forward from a place in the frame of the cloud."""
    T = np.eye(4)
    T[:3, :3] = [[0, -1, 0], [0, 0, -1], [1, 0, 0]]
    T[:3, 3] = -T[:3, :3] @ [x, y, z]
    return T


def near_street(rng, height=1.7, count=6000):
    """Road and house fronts within 12 m of a lidar, its frame."""
    x, y = rng.uniform(-12, 12, count), rng.uniform(-5, 5, count)
    points = np.column_stack([x, y, np.full(count, -height)])
    walls = slice(0, count // 3)
    points[walls, 1] = np.sign(y[walls]) * 5
    points[walls, 2] = rng.uniform(-height, 3, count // 3)
    return points + rng.normal(0, 0.02, points.shape)


@pytest.mark.parametrize('unit', UNITS)
@pytest.mark.parametrize('place', [(0, 0, -0.2), (1.5, 0.3, 0.4)])
def test_a_near_street_in_another_unit_is_told(rng, unit, place):
    points, T = near_street(rng), camera_at(*place)
    assert SensorHeight().look(points, T) is None
    found = SensorHeight().look(points * UNITS[unit], T)
    assert (found.code, found.out) == ('cloud.unit', unit in OUT)
    assert f'{1.7 + place[2]:.1f} m if in {unit}' in found.text


def test_a_cloud_in_a_frame_of_the_map_is_measured_from_the_camera(rng):
    offset = np.array([5200.0, -3400.0, 41.0])
    points, T = near_street(rng) + offset, camera_at(*offset)
    assert SensorHeight().look(points, T) is None


def test_one_sweep_with_its_ground_settles_it_and_none_is_told_without(rng):
    height, T = SensorHeight(), camera_at()
    above = near_street(rng)
    above = above[above[:, 2] > -1.0]
    assert height.look(above, T) is None
    assert height.look(near_street(rng), T) is None
    assert height.look(near_street(rng, height=7.0), T) is None  # over the rail of a bridge


def test_sensors_on_a_mast_are_used_with_a_word(rng):
    for height, guess in ((7.0, '2.1 m if in feet'), (14.0, '')):
        found = SensorHeight().look(near_street(rng, height=height), camera_at())
        assert not found.out
        assert f'lies {height:.1f} m below the camera' in found.text
        assert guess in found.text
        assert ('if in' in found.text) == bool(guess)
        assert 'unless the sensors are on a mast' in found.remedy


@pytest.mark.parametrize('unit', ['feet', 'inches', 'metres'])
def test_the_pass_takes_out_or_notes_the_sweep(rng, unit):
    monitor = PlausibilityMonitor(PlausibilityConfig())
    K = np.array([[200.0, 0, 160], [0, 200, 100], [0, 0, 1]])
    view = CameraModel(320, 200, K, frame_id='camera_optical')
    for k in range(3):
        cloud = PointCloud((near_street(rng) * UNITS.get(unit, 1)).astype(np.float32))
        frame = monitor.check_frame(SensorFrame(Modality.LIDAR, k, 'lidar', cloud))
        bundle = SensorBundle(
            k,
            Modality.LIDAR,
            view,
            {Modality.LIDAR: frame},
            T_camera={Modality.LIDAR: camera_at()},
        )
        bundle = monitor.check_bundle(bundle)
    told = [(f.finding.code, f.finding.out, f.count) for f in monitor.findings()]
    assert told == {
        'feet': [('cloud.unit', False, 3)], 'inches': [('cloud.unit', True, 3)], 'metres': []
    }[unit]  # fmt: skip
    assert (Modality.LIDAR in bundle.missing) == (unit == 'inches')
    assert ('if in feet' in bundle.notes.get(Modality.LIDAR, '')) == (unit == 'feet')


@pytest.mark.parametrize('unit', ['inches', 'centimetres', 'millimetres'])
def test_a_wall_in_another_unit_is_too_far_from_the_camera(rng, unit):
    """A wall alone has no ground, and its points are near to each other."""
    wall = np.column_stack(
        [np.full(2000, 10.0), rng.uniform(-4, 4, 2000), rng.uniform(-1, 3, 2000)]
    )
    assert SensorHeight().look(wall, camera_at()) is None
    found = SensorHeight().look(wall * UNITS[unit], camera_at())
    assert (found.code, found.out) == ('cloud.unit', True)
    assert 'from the camera, which no lidar measures' in found.text
    assert f'10 m if in {unit}' in found.text
    offset = np.array([5200.0, -3400.0, 41.0])
    assert SensorHeight().look(wall + offset, camera_at(*offset)) is None


@pytest.mark.data
def test_real_sweeps_are_told_in_every_unit_and_not_in_metres(sample_data):
    streets = np.load(sample_data / 'health/street_lidar_10hz.npz')
    sweeps = [np.load(sample_data / 'opencalib/points.npz')['xyz']]
    sweeps += [streets[name][:, :3] for name in sorted(streets.files)]
    for number in range(3):
        path = sample_data / f'kitti/frames/velodyne/{number:010d}.bin'
        sweeps.append(np.fromfile(path, np.float32).reshape(-1, 4)[:, :3])
    for points in sweeps:
        assert SensorHeight().look(points, camera_at()) is None
        for unit, scale in UNITS.items():
            found = SensorHeight().look(points * np.float32(scale), camera_at())
            assert f'if in {unit}' in found.text
            assert found.out == (unit in OUT)
