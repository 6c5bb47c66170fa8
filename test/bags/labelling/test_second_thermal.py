"""A vehicle with two thermal cameras: the second one feeds the network when the first fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sam_ad_perception.bags.bundles import BundleOptions, read_bundles
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.topics import guess_topics
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.core.sensor_kinds import forget_sensor
from sam_ad_perception.core.sensors import Modality, SensorBundle
from sam_ad_perception.core.settings.parameter_files import load
from sam_ad_perception.core.settings.parameters import ParameterError
from sam_ad_perception.core.settings.vehicle_sensors import (
    VehicleSensorConfig,
    feed_inputs,
    order_feeds,
)
from sam_ad_perception.nodes.ros.configuration import SegmentationConfig
from sam_ad_perception.nodes.segmentation.model_loading import make_segmenter
from sam_ad_perception.simulation.drives.configuration import DriveConfig
from sam_ad_perception.simulation.drives.drive import Drive
from sam_ad_perception.simulation.drives.recording import record
from sam_ad_perception.simulation.faults.effects import Fault
from sam_ad_perception.simulation.sensors.rig import RigSensor

PARAMETERS = """
/**:
  ros__parameters:
    sensors:
      thermal_left: {kind: thermal}
    bundler:
      sync:
        thermal_left: {offset_s: 0.004}
"""
FAILS_S, RETURNS_S = 0.5, 1.1


@pytest.fixture
def config(tmp_path: Path) -> Iterator[SegmentationConfig]:
    path = tmp_path / 'vehicle.yaml'
    path.write_text(PARAMETERS)
    yield load(SegmentationConfig, path, 'segmentation')
    forget_sensor('thermal_left')


@pytest.fixture
def drive() -> DriveConfig:
    rig = (
        RigSensor('camera', 'camera', (96, 160)),
        RigSensor('thermal', 'thermal', (64, 96), position=(1.6, -0.12, 1.65)),
        RigSensor(
            'thermal_left', 'thermal', (48, 80), position=(1.6, 0.3, 1.65), clock_offset_s=0.004
        ),
    )
    fault = Fault('thermal', 'shutter', FAILS_S, RETURNS_S)
    return DriveConfig(duration_s=1.6, rig=rig, faults=(fault,))


def test_the_second_takes_over_when_the_first_fails(
    config: SegmentationConfig, drive: DriveConfig, tmp_path: Path
) -> None:
    with BagWriter(tmp_path / 'drive') as writer:
        record(Drive(drive), writer)
    segmenter = make_segmenter(config)
    told: dict[float, str] = {}
    sizes = set()
    with BagReader(tmp_path / 'drive') as reader:
        mapping = guess_topics(reader.topics)
        left = Modality('thermal_left')
        assert mapping.sensors[left].data == '/thermal_left/image_rect'
        assert mapping.sensors[left].info == '/thermal_left/camera_info'
        for bundle in read_bundles(reader, mapping, BundleOptions(config.bundler)):
            assert isinstance(bundle, SensorBundle)
            assert bundle.frames[left].stamp_ns == bundle.stamp_ns  # its own clock offset
            sizes.add(bundle.frames[left].camera.size if bundle.frames[left].camera else None)
            (result,) = segmenter.segment([bundle])
            assert Modality.THERMAL in result.used
            assert left not in result.used
            elapsed_s = (bundle.stamp_ns - drive.start_ns) * 1e-9
            told[round(elapsed_s, 1)] = result.notes.get(Modality.THERMAL, '')
    assert sizes == {(48, 80)}
    for elapsed_s, note in told.items():
        if FAILS_S <= elapsed_s < RETURNS_S:
            assert note.startswith('from thermal_left (thermal: '), (elapsed_s, note)
        elif elapsed_s < FAILS_S or elapsed_s > RETURNS_S + 0.25:  # it recovers with good frames
            assert 'thermal_left' not in note, (elapsed_s, note)
    health = segmenter.health.summary()
    assert health[Modality.THERMAL].unusable >= 5
    assert health[left].unusable == 0


def test_parameters_of_each_sensor_of_a_kind(config: SegmentationConfig) -> None:
    assert config.bundler.sync.sensors[Modality('thermal_left')].offset_s == 0.004
    assert config.bundler.sync.sensors[Modality.THERMAL].offset_s == 0.0
    assert Modality('thermal_left') in config.inputs
    assert type(config.health.thermal_left) is type(config.health.thermal)
    assert config.sensors == {'thermal_left': VehicleSensorConfig('thermal')}


@pytest.mark.parametrize(
    ('text', 'told'),
    [
        ('thermal_left: {kind: infrared}', "must be one of .* got 'infrared'"),
        ('camera: {kind: thermal}', "'camera' is of kind camera"),
    ],
)
def test_a_sensor_that_cannot_be_named(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / 'vehicle.yaml'
    path.write_text(f'/**:\n  ros__parameters:\n    sensors:\n      {text}\n')
    with pytest.raises(ParameterError, match=told):
        load(SegmentationConfig, path, 'segmentation')


def test_the_lowest_rank_that_is_there_feeds(
    config: SegmentationConfig, drive: DriveConfig
) -> None:
    left, thermal = Modality('thermal_left'), Modality.THERMAL
    bundle, _ = Drive(drive).bundle(drive.start_ns)
    other = replace(bundle.frames[thermal], modality=left)
    both = replace(
        bundle,
        frames={**bundle.frames, left: other},
        T_camera={**bundle.T_camera, left: np.eye(4)},
    )
    first = order_feeds({'thermal_left': VehicleSensorConfig('thermal', rank=0)})
    assert first == {thermal: (left, thermal)}
    fed = feed_inputs(both, first)
    assert fed.frames[thermal] is other
    assert fed.T_camera[thermal] is both.T_camera[left]
    assert fed.notes == {thermal: 'from thermal_left'}
    second = order_feeds({'thermal_left': VehicleSensorConfig('thermal')})
    assert feed_inputs(both, second).frames[thermal] is bundle.frames[thermal]
    none = replace(
        bundle,
        frames={Modality.CAMERA: bundle.frames[Modality.CAMERA]},
        missing={thermal: 'dark', left: 'unplugged'},
    )
    assert feed_inputs(none, second).missing == {thermal: 'thermal: dark; thermal_left: unplugged'}
    with pytest.raises(ValueError, match='feeds must be one of'):
        order_feeds({'thermal_left': VehicleSensorConfig('thermal', feeds='radar')})
