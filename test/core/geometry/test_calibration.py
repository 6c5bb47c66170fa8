"""Calibration files: the example is whole, and every mistake is told by its field."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sam_ad_perception.core.geometry.calibration import CalibrationError, load_calibration
from sam_ad_perception.core.geometry.transform_tree import TransformTree
from sam_ad_perception.core.sensors import Modality


@pytest.fixture
def example(repository):
    return yaml.safe_load((repository / 'config' / 'extrinsics.example.yaml').read_text())


def load(tmp_path: Path, content) -> object:
    path = tmp_path / 'calibration.yaml'
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return load_calibration(path)


def test_the_example_places_the_lidar_in_the_camera(repository):
    calibration = load_calibration(repository / 'config' / 'extrinsics.example.yaml')
    tree = TransformTree()
    calibration.fill(tree)
    T_camera_lidar = tree.lookup('camera_optical', 'lidar')
    # A point 10 m ahead of the lidar and level with it: 9.7 m before the camera, 0.25 m above it.
    ahead = T_camera_lidar @ [10.0, 0.0, 0.0, 1.0]
    np.testing.assert_allclose(ahead, [0.0, -0.25, 9.7, 1.0], atol=1e-12)
    left = T_camera_lidar @ [10.0, 2.0, 0.0, 1.0]
    np.testing.assert_allclose(left[0], -2.0, atol=1e-12)
    camera = calibration.cameras[Modality.CAMERA]
    assert camera.size == (400, 640)
    assert camera.K[0, 0] == 500.0
    assert not camera.is_distorted


def test_without_cameras_there_are_only_transforms(tmp_path, example):
    del example['cameras']
    assert load(tmp_path, example).cameras == {}


@pytest.mark.parametrize(
    ('where', 'value', 'message'),
    [
        (('transforms', 0, 'rotation'), [0, 0, 0], r'transforms\[0\].rotation.*4 numbers'),
        (('transforms', 0, 'rotation'), [0, 0, 0, 3.0], r'transforms\[0\].rotation.*norm 1'),
        (('transforms', 1, 'translation'), [0, 'x', 0], r'transforms\[1\].translation.*3 numb'),
        (('transforms', 1, 'translation'), [0, float('nan'), 0], r'transforms\[1\].translation'),
        (('transforms', 0, 'parent'), '', r'transforms\[0\].parent'),
        (('transforms', 1, 'child'), 'lidar', "child 'lidar' is placed already"),
        (('transforms', 0, 'parent'), 'lidar', 'loop'),
        (('transforms', 0, 'frame'), 'x', r"transforms\[0\].*unknown field 'frame'"),
        (('transforms',), 3, 'transforms must be a list'),
        (('cameras', 'radar'), {}, "unknown field 'radar'"),
        (('cameras', 'camera', 'K'), [1.0] * 8, 'cameras.camera.K.*9 numbers'),
        (('cameras', 'camera', 'width'), 640.0, 'cameras.camera.width must be an int'),
        (('cameras', 'camera', 'D'), [1.0], 'cameras.camera: plumb_bob takes'),
        (('cameras', 'camera', 'distortion_model'), 'odd', 'cameras.camera: distortion_model'),
        (('cameras', 'camera', 'frame_id'), None, 'cameras.camera.frame_id.*null'),
    ],
)
def test_a_mistake_is_told_by_its_field(tmp_path, example, where, value, message):
    at = example
    for key in where[:-1]:
        at = at[key]
    at[where[-1]] = value
    with pytest.raises(CalibrationError, match=message):
        load(tmp_path, example)


def test_a_missing_field_is_named(tmp_path, example):
    del example['transforms'][2]['child']
    with pytest.raises(CalibrationError, match=r'calibration.yaml: transforms\[2\].child is miss'):
        load(tmp_path, example)


@given(st.text(alphabet='abk:[]{}-#\'" \n0.,', max_size=60))
def test_any_text_loads_or_is_refused(tmp_path_factory, text):
    refused = None
    try:
        load(tmp_path_factory.mktemp('calibration'), text)
    except CalibrationError as err:
        refused = str(err)
    assert refused is None or 'calibration.yaml' in refused
