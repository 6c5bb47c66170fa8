"""Arrays become sensor data, or are refused by a sentence that names the argument."""

from __future__ import annotations

import numpy as np
import pytest

from sam_ad_perception.core.geometry.calibration import Calibration
from sam_ad_perception.core.lidar.depth_image import project_depth
from sam_ad_perception.core.messages.from_arrays import (
    bundle_from_arrays,
    camera_image,
    depth_map,
    point_cloud,
    thermal_image,
)
from sam_ad_perception.core.sensors import CameraModel, Events, Modality

K = np.array([[500.0, 0, 319.5], [0, 500, 199.5], [0, 0, 1]])
VIEW = CameraModel(640, 400, K, frame_id='camera_optical')
HEAT = CameraModel(320, 256, K / 2 + np.diag([0, 0, 0.5]), frame_id='thermal_optical')
T_CAMERA_LIDAR = np.array([[0, -1, 0, 0], [0, 0, -1, 0.1], [1, 0, 0, 0], [0, 0, 0, 1.0]])
T_CAMERA_THERMAL = np.eye(4)
RIG = Calibration(
    (
        ('camera_optical', 'lidar_top', T_CAMERA_LIDAR),
        ('camera_optical', 'thermal_optical', T_CAMERA_THERMAL),
    ),
    {Modality.CAMERA: VIEW, Modality.THERMAL: HEAT},
)
RGB = np.arange(400 * 640 * 3, dtype=np.uint64).reshape(400, 640, 3).astype(np.uint8)
XYZ = np.array([[10.0, 1, 0], [20, -2, 1], [5, np.nan, 0]])


def test_each_form_of_a_colour_image() -> None:
    assert camera_image(RGB) is not None
    for form in (RGB, RGB.tolist(), RGB / 255, (RGB / 255).astype(np.float16), RGB.astype(int)):
        assert np.array_equal(camera_image(form), RGB)
    assert camera_image(np.zeros((4, 5), bool) * 1.0).shape == (4, 5, 3)
    assert np.array_equal(camera_image(RGB[:, :, :1]), np.repeat(RGB[:, :, :1], 3, axis=2))


@pytest.mark.parametrize(
    ('image', 'told'),
    [
        (np.zeros((3, 40, 60)), r'\(3, 40, 60\) float64.*transpose\(1, 2, 0\)'),
        (np.zeros((1, 40, 60, 3)), 'once per image'),
        (np.zeros((40, 60, 2)), r'\(40, 60, 2\)'),
        (np.zeros((0, 60, 3)), r'\(0, 60, 3\)'),
        (np.zeros(60), r'\(60,\)'),
        (RGB.astype(float), 'from 0 to 255.*from 0 to 1'),
        (RGB / 255 - 0.5, 'from -0.5 to 0.5'),
        (np.full((4, 4, 3), np.nan), 'from nan to nan'),
        (np.full((4, 4, 3), 4000, np.uint16), 'uint16 from 4000 to 4000.*>> 8'),
        (np.full((4, 4, 3), -1), 'from -1 to -1'),
        ([[1, 2], [3]], 'no array'),
        ('photo.png', 'a str'),
        (np.array([['a']]), '<U1'),
        (np.zeros((4, 4, 3), complex), 'complex128'),
    ],
)
def test_a_refused_colour_image(image, told) -> None:
    with pytest.raises(ValueError, match=rf'^camera is .*{told}.*'):
        camera_image(image)


def test_each_form_of_a_thermal_image() -> None:
    counts = np.array([[27000, 31000], [29000, 30000]], np.uint16)
    for form in (counts, counts.tolist(), counts[:, :, None], counts.astype(np.int32)):
        made = thermal_image(form)
        assert made.dtype == np.uint16
        assert np.array_equal(made, counts)
    assert thermal_image((counts >> 8).astype(np.uint8)).dtype == np.uint8
    kelvin = thermal_image(counts / 100)
    assert kelvin.dtype == np.float32
    assert np.allclose(kelvin, counts / 100)
    three = np.repeat(counts[:, :, None], 3, axis=2)
    assert np.array_equal(thermal_image(three), counts)


@pytest.mark.parametrize(
    ('image', 'told'),
    [
        (np.linspace(0, 1, 12).reshape(3, 4), r'from 0 to 1.*\* 65535'),
        (np.full((3, 4), 70000), 'to 70000'),
        (np.full((3, 4), -5), 'from -5'),
        (RGB, r'\(400, 640, 3\)'),
        (np.full((3, 4), np.nan), 'float64'),
        (np.zeros((3, 0), np.uint16), r'\(3, 0\)'),
    ],
)
def test_a_refused_thermal_image(image, told) -> None:
    with pytest.raises(ValueError, match=rf'^thermal is .*{told}.*'):
        thermal_image(image)


def test_each_form_of_a_sweep() -> None:
    assert np.array_equal(point_cloud(XYZ).points, XYZ[:2].astype(np.float32))
    assert point_cloud(XYZ).intensity is None
    with_intensity = point_cloud(np.column_stack([XYZ, [0.1, 0.2, 0.3]]))
    assert with_intensity.intensity.tolist() == pytest.approx([0.1, 0.2])
    assert point_cloud([[10, 1, 0], [20, -2, 1]]).points.dtype == np.float32
    fields = np.zeros(3, [('x', 'f4'), ('y', 'f4'), ('z', 'f4'), ('intensity', 'u1'), ('t', 'u4')])
    fields['x'], fields['intensity'] = XYZ[:, 0], 9
    assert point_cloud(fields).points[:, 0].tolist() == [10, 20, 5]
    assert point_cloud(fields).intensity.tolist() == [9, 9, 9]
    assert len(point_cloud(np.zeros((0, 3))).points) == 0


@pytest.mark.parametrize(
    ('points', 'told'),
    [
        (XYZ[:2].astype(np.int32), r'int32.*/ 1000.*astype'),
        (XYZ[:2].astype(np.uint16), 'uint16'),
        (np.zeros((3, 500)), r'points\.T'),
        (np.zeros((500, 2)), r'\(500, 2\)'),
        (np.zeros(3), r'\(3,\)'),
        (np.zeros(3, [('x', 'f4'), ('y', 'f4')]), "lacks \\['z'\\]"),
        (np.zeros(3, [('x', 'i4'), ('y', 'i4'), ('z', 'i4')]), 'i4'),
        ([[1, 2, 3], [1, 2]], 'no array'),
    ],
)
def test_a_refused_sweep(points, told) -> None:
    with pytest.raises(ValueError, match=rf'^lidar (is|has) .*{told}.*'):
        point_cloud(points)


def test_integer_points_are_not_projected_as_if_they_were_metres() -> None:
    with pytest.raises(ValueError, match=r'int32.*metres'):
        project_depth(np.array([[0, 0, 10]], np.int32), VIEW)
    assert np.isfinite(project_depth(np.array([[0, 0, 10.0]]), VIEW)).sum() == 1
    assert np.isfinite(project_depth([[0, 0, 10]], VIEW)).sum() == 1


def test_depth_in_metres_and_millimetres() -> None:
    metres = np.array([[1.5, np.nan], [0.25, 60.0]], np.float32)
    millimetres = np.array([[1500, 0], [250, 60000]], np.uint16)
    assert np.array_equal(depth_map(metres), metres, equal_nan=True)
    assert np.array_equal(depth_map(millimetres), metres, equal_nan=True)
    with pytest.raises(ValueError, match=r'^depth is .* uint8'):
        depth_map(millimetres.astype(np.uint8))


def test_a_camera_alone_needs_no_calibration() -> None:
    bundle = bundle_from_arrays(camera=RGB)
    assert bundle.camera.size == (400, 640)
    assert set(bundle.frames) == {Modality.CAMERA}
    assert bundle.missing[Modality.LIDAR] == 'not given'
    with pytest.raises(ValueError, match=r'^thermal, lidar cannot .* calibration'):
        bundle_from_arrays(camera=RGB, thermal=np.zeros((4, 4), np.uint8), lidar=XYZ)
    with pytest.raises(ValueError, match=r'at least one of camera'):
        bundle_from_arrays()
    with pytest.raises(ValueError, match=r'calibration is a dict'):
        bundle_from_arrays(camera=RGB, lidar=XYZ, calibration={})


def test_transforms_are_those_of_the_calibration() -> None:
    heat = np.full((256, 320), 30000, np.uint16)
    bundle = bundle_from_arrays(camera=RGB, thermal=heat, lidar=XYZ, calibration=RIG)
    assert np.allclose(bundle.T_camera[Modality.LIDAR], T_CAMERA_LIDAR)
    assert np.allclose(bundle.T_camera[Modality.THERMAL], T_CAMERA_THERMAL)
    assert bundle.frames[Modality.LIDAR].frame_id == 'lidar_top'
    assert bundle.reference is Modality.CAMERA
    led_by_heat = bundle_from_arrays(thermal=heat, calibration=RIG)
    assert led_by_heat.reference is Modality.THERMAL
    assert led_by_heat.camera is VIEW


def test_a_resized_image_takes_its_geometry_with_it() -> None:
    """A point falls on the same part of the scene: half the pixels, half the coordinates."""
    bundle = bundle_from_arrays(camera=RGB[::2, ::2], calibration=RIG)
    assert bundle.camera.size == (200, 320)
    assert 'scaled from 640 x 400' in bundle.notes[Modality.CAMERA]
    point = np.array([[1.0, 0.5, 10.0]])
    full = np.argwhere(np.isfinite(project_depth(point, VIEW)))
    half = np.argwhere(np.isfinite(project_depth(point, bundle.camera)))
    assert np.abs(half - full / 2).max() <= 1
    odd = bundle_from_arrays(camera=np.zeros((133, 213, 3), np.uint8), calibration=RIG)
    assert odd.camera.size == (133, 213)  # 640 x 400 at a third, rounded to whole pixels


@pytest.mark.parametrize('size', [(400, 600), (390, 640), (640, 400), (200, 330)])
def test_a_cropped_image_is_refused(size) -> None:
    height, width = size
    with pytest.raises(ValueError, match=rf'^camera is {width} x {height} .*640 x 400'):
        bundle_from_arrays(camera=np.zeros((*size, 3), np.uint8), calibration=RIG)


def test_what_the_calibration_lacks_is_named() -> None:
    with pytest.raises(ValueError, match=r'^depth has no geometry'):
        bundle_from_arrays(camera=RGB, depth=np.ones((400, 640)), calibration=RIG)
    bare = Calibration(cameras={Modality.CAMERA: VIEW, Modality.THERMAL: HEAT})
    with pytest.raises(ValueError, match=r'frame of the lidar is not clear'):
        bundle_from_arrays(camera=RGB, lidar=XYZ, calibration=bare)
    with pytest.raises(ValueError, match=r'^thermal has no place'):
        bundle_from_arrays(thermal=np.full((256, 320), 300.0), calibration=bare)
    only_heat = Calibration(cameras={Modality.THERMAL: HEAT})
    with pytest.raises(ValueError, match=r'no geometry of the camera'):
        bundle_from_arrays(thermal=np.full((256, 320), 300.0), calibration=only_heat)
    with pytest.raises(ValueError, match=r'^event is'):
        bundle_from_arrays(camera=RGB, event=np.zeros((5, 4)), calibration=RIG)


def test_events_have_the_size_of_their_sensor() -> None:
    none = np.zeros(0)
    events = Events(
        none.astype(np.uint16), none.astype(np.uint16), none > 0, none.astype(np.int64), (128, 160)
    )
    view = CameraModel(320, 256, HEAT.K, frame_id='camera_optical')
    rig = Calibration(cameras={Modality.CAMERA: VIEW, Modality.EVENT: view})
    with pytest.raises(ValueError, match=r'^event is 160 x 128 .*320 x 256'):
        bundle_from_arrays(camera=RGB, event=events, calibration=rig)
