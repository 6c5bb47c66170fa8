"""Nothing depends on a sensor that was removed: not an input, not a mask, on any path."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from sam_ad_perception.core.health.config import UNCHECKED
from sam_ad_perception.core.health.repetition import is_same
from sam_ad_perception.core.images.thermal import ThermalRanges
from sam_ad_perception.core.sensors import Modality, keep_sensors
from sam_ad_perception.modeling.inference.expert_network import ExpertNetwork
from sam_ad_perception.modeling.inference.segmenter import Segmenter
from sam_ad_perception.modeling.zoo.entries import build_model, load_zoo
from training.configuration.augmentation import AugmentationConfig
from training.configuration.data import SubsetConfig
from training.evaluation.data import HeldBackDrives
from training.evaluation.measurement import Setting
from training.evaluation.systems import NetworkSystem, VehicleSystem
from training.frames.frame import LabelledFrame
from training.runs.batches import BatchReader
from training.runs.prepared_batches import PreparedFrames

ZOO = Path(__file__).parents[2] / 'tiny_zoo.yaml'
SENSORS = ('camera', 'thermal', 'event', 'lidar')


@pytest.fixture(scope='module')
def spec(tmp_path_factory):
    """Thermal images and events are placed by the depth that the lidar sees."""
    text = ZOO.read_text()
    for name in ('thermal_percentile', 'event_counts'):
        assert f'{name}}}' in text
        text = text.replace(f'{name}}}', f'{name}, alignment: depth}}')
    path = tmp_path_factory.mktemp('zoo') / 'zoo.yaml'
    path.write_text(text)
    return load_zoo(path)['tiny']


@pytest.fixture(scope='module')
def network(spec):
    torch.manual_seed(0)
    return build_model(spec).eval()


@pytest.fixture(scope='module')
def frames():
    one, two = list(HeldBackDrives(2, ('day',)))
    for sensor in map(Modality, SENSORS):  # else nothing is tried
        data = (each.bundle.frames[sensor].data for each in (one, two))
        assert not is_same(*data)
    return [one, two]


def with_other_data(frame: LabelledFrame, other: LabelledFrame, sensor: str) -> LabelledFrame:
    """The frame, but what one sensor saw is from another drive."""
    modality = Modality(sensor)
    data = other.bundle.frames[modality].data
    changed = dataclasses.replace(frame.bundle.frames[modality], data=data)
    kept = {**frame.bundle.frames, modality: changed}
    return dataclasses.replace(frame, bundle=dataclasses.replace(frame.bundle, frames=kept))


def of(subset: tuple[str, ...]) -> Setting:
    return Setting(subset)


@pytest.mark.parametrize('gone', SENSORS)
def test_no_input_and_no_mask_depends_on_a_removed_sensor(spec, network, frames, gone):
    one = frames[0]
    two = with_other_data(one, frames[1], gone)
    subset = tuple(name for name in SENSORS if name != gone)
    expert = ExpertNetwork(spec, network)
    space = spec.labels
    inputs = [expert.prepare(f.bundle, subset, ThermalRanges()).inputs for f in (one, two)]
    assert set(inputs[0]) == set(subset)
    for name in subset:
        np.testing.assert_array_equal(inputs[0][name], inputs[1][name])
    for system in (
        NetworkSystem(ExpertNetwork(spec, network), space),
        VehicleSystem('vehicle', Segmenter([expert], health=UNCHECKED), space),
    ):
        first, second = (system.answer(f, of(subset), 9) for f in (one, two))
        np.testing.assert_array_equal(first.mask, second.mask)
        np.testing.assert_array_equal(first.confidence, second.confidence)


def test_the_whole_set_before_leaves_no_trace_in_a_smaller_one(spec, network, frames):
    after = NetworkSystem(ExpertNetwork(spec, network), spec.labels)
    after.answer(frames[0], of(SENSORS), 9)
    fresh = NetworkSystem(ExpertNetwork(spec, network), spec.labels)
    masks = [each.answer(frames[0], of(SENSORS[:3]), 9).mask for each in (after, fresh)]
    np.testing.assert_array_equal(*masks)


def test_without_the_lidar_thermal_images_are_placed_otherwise(spec, network, frames):
    """The oracle of the above: with these representations the lidar does change the others."""
    expert = ExpertNetwork(spec, network)
    bundle = frames[0].bundle
    whole = expert.prepare(bundle, SENSORS, ThermalRanges()).inputs['thermal']
    blind = expert.prepare(bundle, SENSORS[:3], ThermalRanges()).inputs['thermal']
    removed = keep_sensors(bundle, SENSORS[:3], 'removed')
    assert removed.missing[Modality.LIDAR] == 'removed'
    expected = expert.prepare(removed, SENSORS, ThermalRanges()).inputs['thermal']
    assert not np.array_equal(whole, blind)
    np.testing.assert_array_equal(blind, expected)


class TwoFrames:
    """A data set of one frame and of the same with other data of one sensor."""

    def __init__(self, frames):
        self.frames = frames
        self.space = frames[0]

    def __len__(self):
        return len(self.frames)

    def read(self, index):
        return self.frames[index]


@pytest.mark.parametrize('vary', [False, True])
def test_a_batch_without_the_lidar_is_that_of_frames_without_it(spec, frames, vary):
    def batches(frame):
        source = TwoFrames([frame])
        source.space = spec.labels
        augmentation = AugmentationConfig(vary=vary, scales=(0.8, 1.2) if vary else (1.0, 1.0))
        prepared = PreparedFrames(source, spec, augmentation)
        reader = BatchReader(
            prepared, 1, SubsetConfig(drop=0.5, single=0.0), 3, augmentation=augmentation
        )
        return [reader.read(number).batch for number in range(12)]

    one = batches(frames[0])
    two = batches(with_other_data(frames[0], frames[1], 'lidar'))
    without = [k for k, batch in enumerate(one) if 'lidar' not in batch.inputs]
    assert without
    for k in without:
        assert list(one[k].inputs) == list(two[k].inputs)
        for name, image in one[k].inputs.items():
            torch.testing.assert_close(image, two[k].inputs[name], rtol=0, atol=0)
