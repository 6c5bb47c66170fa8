"""Temperatures of an entry: read strictly, and laid under the confidence of the segmenter."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import yaml
from torch.nn import functional as F

from sam_ad_perception.core.health.config import UNCHECKED
from sam_ad_perception.core.routing.router import RoutingConfig
from sam_ad_perception.core.routing.table import RoutingRow, RoutingTable
from sam_ad_perception.modeling.inference.expert_network import ExpertNetwork
from sam_ad_perception.modeling.inference.segmenter import Segmenter
from sam_ad_perception.modeling.zoo.entries import load_zoo
from sam_ad_perception.modeling.zoo.packed import pack_entry
from sam_ad_perception.modeling.zoo.temperatures import Temperature, find_temperature

ROWS = (
    Temperature(('camera', 'thermal', 'event', 'lidar'), 0.5, {'day': 2.0, 'night': 3.0}),
    Temperature(('lidar',), 4.0),
)


def test_the_set_counts_and_not_its_order():
    everything = ('lidar', 'camera', 'event', 'thermal')
    assert find_temperature(ROWS, everything) == 0.5
    assert find_temperature(ROWS, everything, 'night') == 3.0
    assert find_temperature(ROWS, everything, 'dusk') == 0.5
    assert find_temperature(ROWS, ('lidar',), 'day') == 4.0
    assert find_temperature(ROWS, ('camera',)) == 1.0


@pytest.mark.parametrize(
    ('row', 'sentence'),
    [
        ({'subset': [], 'temperature': 1.0}, 'subset must name sensors'),
        ({'subset': ['lidar', 'lidar'], 'temperature': 1.0}, 'each once'),
        ({'subset': ['lidar'], 'temperature': 0.0}, 'temperature must be from 0.05 to 20'),
        ({'subset': ['lidar'], 'temperature': 1, 'conditions': {'day': 99}}, 'day must be from'),
        ({'subset': ['radar'], 'temperature': 1.0}, 'different sets of'),
    ],
)
def test_rows_that_cannot_be_are_refused(zoo_path, row, sentence):
    zoo = yaml.safe_load(zoo_path.read_text())
    zoo['models']['tiny']['temperatures'] = [row]
    zoo_path.write_text(yaml.safe_dump(zoo))
    with pytest.raises(ValueError, match=sentence):
        load_zoo(zoo_path)


def test_an_entry_has_one_row_per_set(zoo_path):
    zoo = yaml.safe_load(zoo_path.read_text())
    row = {'subset': ['lidar', 'camera'], 'temperature': 1.5, 'conditions': {'day': 1.2}}
    zoo['models']['tiny']['temperatures'] = [row]
    zoo_path.write_text(yaml.safe_dump(zoo))
    spec = load_zoo(zoo_path)['tiny']
    assert spec.temperatures == (Temperature(('lidar', 'camera'), 1.5, {'day': 1.2}),)
    packed = pack_entry(zoo['models']['tiny'], 'tiny', spec.labels)
    assert 'temperatures' not in ''.join(packed.values())
    zoo['models']['tiny']['temperatures'] = [row, {**row, 'subset': ['camera', 'lidar']}]
    zoo_path.write_text(yaml.safe_dump(zoo))
    with pytest.raises(ValueError, match='different sets of'):
        load_zoo(zoo_path)


@pytest.mark.parametrize('on_device', [False, True])
def test_the_segmenter_lays_it_under_the_confidence_alone(spec, network, bundle, on_device):
    plain = ExpertNetwork(spec, network)
    (before,) = Segmenter([plain], health=UNCHECKED).segment([bundle])
    warm = ExpertNetwork(dataclasses.replace(spec, temperatures=ROWS), network)
    warm.on_device = plain.on_device = on_device
    (after,) = Segmenter([warm], health=UNCHECKED).segment([bundle])
    np.testing.assert_array_equal(after.mask, before.mask)
    prepared = warm.prepare(bundle, tuple(spec.inputs), Segmenter([warm])._ranges)
    _, logits = warm.run([prepared])
    up = F.interpolate(logits.double(), bundle.camera.size, mode='bilinear')[0]
    expected = 255 * (up / 0.5).softmax(dim=0).amax(dim=0).numpy()
    assert np.abs(after.confidence - expected).max() < 1.6
    assert after.confidence.mean() > before.confidence.mean()


def test_a_known_condition_has_its_own(spec, network, bundle):
    """Where the router looks whether it is day, the confidence goes by that too."""
    rows = (RoutingRow('tiny', tuple(spec.inputs), 50.0, {'day': 50.0, 'night': 50.0}),)
    table = RoutingTable('simulated', 'x', 'cityscapes', (100, 160), rows)
    expert = ExpertNetwork(dataclasses.replace(spec, temperatures=ROWS), network)
    picture = next(iter(bundle.frames.values()))
    bright = dataclasses.replace(picture, data=np.full((100, 160, 3), 230, np.uint8))
    frames = {**bundle.frames, picture.modality: bright}
    lit = dataclasses.replace(bundle, frames=frames)
    shares = {}
    for name, given in (('known', table), ('unknown', None)):
        routing = RoutingConfig(recovery_frames=1, min_condition_confidence=0.8)
        segmenter = Segmenter([expert], health=UNCHECKED, table=given, routing=routing)
        (result,) = segmenter.segment([lit])
        assert len(result.used) == 4
        shares[name] = result
    np.testing.assert_array_equal(shares['known'].mask, shares['unknown'].mask)
    # 2 by day, 0.5 where that is not known
    assert shares['known'].confidence.mean() < shares['unknown'].confidence.mean()
    with torch.inference_mode():
        assert expert.temperature(tuple(spec.inputs), 'day') == 2.0
