from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sam_ad_perception.core.health_config import UNCHECKED
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.modeling.preprocessing import prepare_bundle
from sam_ad_perception.modeling.segmenter import SegmentationError, Segmenter
from sam_ad_perception.modeling.zoo import build_model, load_zoo

ZOO = Path(__file__).parents[2] / 'models/zoo.yaml'

SENSORS = (Modality.CAMERA, Modality.THERMAL, Modality.EVENT, Modality.LIDAR)
SUBSETS = [s for k in range(1, 5) for s in itertools.combinations(SENSORS, k)]


def keep(bundle, subset):
    frames = {m: f for m, f in bundle.frames.items() if m in subset}
    missing = {m: 'removed' for m in SENSORS if m not in subset}
    return dataclasses.replace(bundle, frames=frames, missing=missing)


@pytest.fixture
def segmenter(spec, network):
    return Segmenter(spec, network)


@pytest.mark.parametrize('subset', SUBSETS, ids='+'.join)
def test_every_subset_gives_a_mask_at_the_camera_size(segmenter, bundle, subset):
    (result,) = segmenter.segment([keep(bundle, subset)])
    assert result.mask.shape == result.confidence.shape == (100, 160)
    assert result.mask.dtype == np.uint8
    assert result.mask.max() < 19
    assert result.stamp_ns == bundle.stamp_ns
    assert result.camera is bundle.camera
    assert result.used == subset
    assert set(result.missing) == set(SENSORS) - set(subset)
    assert sum(result.gate.values()) == pytest.approx(1, abs=1e-5)
    assert set(result.latency_s) == {'health', 'align', 'network', 'mask'}
    assert (result.depth is not None) == (Modality.LIDAR in subset)


def test_mask_is_that_of_the_network(segmenter, spec, network, bundle):
    (result,) = segmenter.segment([bundle])
    inputs = prepare_bundle(bundle, spec.inputs, spec.input_size).inputs
    with torch.no_grad():
        logits = network({n: torch.from_numpy(i)[None] for n, i in inputs.items()}).logits
    up = F.interpolate(logits, (100, 160), mode='bilinear', align_corners=False)
    agreement = (up.argmax(dim=1)[0].numpy() == result.mask).mean()
    assert agreement > 0.999


def test_batching_does_not_change_results(segmenter, bundle):
    bundles = [bundle, keep(bundle, SENSORS[:1]), keep(bundle, SENSORS[1:]), bundle]
    together = segmenter.segment(bundles)
    for one, both in zip(bundles, together, strict=True):
        (alone,) = segmenter.segment([one])
        assert alone.used == both.used
        assert (alone.mask == both.mask).mean() > 0.999


def test_time_errors_are_those_of_the_used_sensors(segmenter, bundle):
    (result,) = segmenter.segment([keep(bundle, SENSORS[:2])])
    assert result.time_error_ns == {Modality.CAMERA: 0, Modality.THERMAL: 3_000_000}


def test_a_bad_frame_is_missing_with_its_reason(segmenter, bundle):
    frames = dict(bundle.frames)
    camera = frames[Modality.CAMERA]
    frames[Modality.CAMERA] = dataclasses.replace(camera, data=np.zeros((0, 0, 3), np.uint8))
    (result,) = segmenter.segment([dataclasses.replace(bundle, frames=frames)])
    assert Modality.CAMERA not in result.used
    assert 'zero size' in result.missing[Modality.CAMERA]
    (expected,) = segmenter.segment([keep(bundle, SENSORS[1:])])
    np.testing.assert_array_equal(result.mask, expected.mask)


def test_no_usable_sensor_is_an_error_that_says_why(segmenter, bundle):
    with pytest.raises(SegmentationError, match=r'tiny: no usable sensor \(camera: removed'):
        segmenter.segment([keep(bundle, ())])


def test_a_required_sensor_that_is_missing_is_an_error(spec, network, bundle):
    needy = Segmenter(dataclasses.replace(spec, required=('camera',)), network)
    with pytest.raises(SegmentationError, match=r"required \['camera'\] missing"):
        needy.segment([keep(bundle, SENSORS[1:])])


def later(bundle, **data):
    """The bundle 100 ms later, with other data for the named sensors."""
    step = 100_000_000
    events = bundle.frames[Modality.EVENT].data if Modality.EVENT in bundle.frames else None
    if events is not None:
        data = {'event': dataclasses.replace(events, t_ns=events.t_ns + step)} | data
    frames = {
        m: dataclasses.replace(f, stamp_ns=f.stamp_ns + step, data=data.get(m, f.data))
        for m, f in bundle.frames.items()
    }
    return dataclasses.replace(bundle, stamp_ns=bundle.stamp_ns + step, frames=frames)


BLACK = np.zeros((100, 160, 3), np.uint8)


def test_an_unhealthy_sensor_is_missing_with_its_reason(segmenter, bundle):
    (result,) = segmenter.segment([later(bundle, camera=BLACK)])
    assert Modality.CAMERA not in result.used
    assert result.missing[Modality.CAMERA].startswith('black: ')
    assert result.mask.shape == (100, 160)
    (expected,) = segmenter.segment([keep(bundle, SENSORS[1:])])
    np.testing.assert_array_equal(result.mask, expected.mask)
    assert segmenter.health.summary()[Modality.CAMERA].counts == {'black': 1}


def test_a_degraded_sensor_is_used_and_noted(segmenter, bundle):
    dull = np.clip(bundle.frames[Modality.CAMERA].data // 32 + 100, 0, 255).astype(np.uint8)
    (result,) = segmenter.segment([keep(later(bundle, camera=dull), SENSORS[:1])])
    assert result.used == (Modality.CAMERA,)
    assert result.notes[Modality.CAMERA].startswith('low contrast: ')


def test_a_required_sensor_that_is_unhealthy_is_an_error(spec, network, bundle):
    needy = Segmenter(dataclasses.replace(spec, required=('camera',)), network)
    with pytest.raises(SegmentationError, match=r"required \['camera'\] missing \(camera: black"):
        needy.segment([later(bundle, camera=BLACK)])


def test_a_sensor_that_the_vehicle_requires_must_be_healthy_too(segmenter, bundle):
    wanted = dataclasses.replace(bundle, required=(Modality.CAMERA,))
    assert len(segmenter.segment([wanted])) == 1
    with pytest.raises(SegmentationError, match=r"required \['camera'\] missing \(camera: black"):
        segmenter.segment([later(wanted, camera=BLACK)])


def test_without_any_healthy_sensor_there_is_no_mask(segmenter, bundle):
    pair = keep(bundle, SENSORS[:2])
    segmenter.segment([pair])
    with pytest.raises(SegmentationError, match=r'camera: frozen.*thermal: frozen'):
        segmenter.segment([later(pair)])


def test_health_is_kept_per_view(segmenter, bundle):
    first = keep(bundle, SENSORS[:1])
    rear = dataclasses.replace(first.camera, frame_id='rear')
    second = dataclasses.replace(later(first), camera=rear)
    results = segmenter.segment([first, second])
    assert [r.missing.get(Modality.CAMERA) for r in results] == [None, None]
    with pytest.raises(SegmentationError, match='camera: frozen'):
        segmenter.segment([later(first)])


def test_after_a_reset_streams_begin_anew(segmenter, bundle):
    first = keep(bundle, SENSORS[:1])
    segmenter.segment([first])
    segmenter.reset()
    assert segmenter.segment([later(first)])[0].used == (Modality.CAMERA,)


def test_checking_can_be_switched_off(spec, network, bundle):
    unchecked = Segmenter(spec, network, health=UNCHECKED)
    (result,) = unchecked.segment([later(bundle, camera=BLACK)])
    assert Modality.CAMERA in result.used


def test_mean_of_both_heads_is_a_switch(spec, network, bundle):
    arguments = dataclasses.replace(spec.arguments, output='mean')
    both = Segmenter(dataclasses.replace(spec, arguments=arguments), network)
    (result,) = both.segment([bundle])
    inputs = prepare_bundle(bundle, spec.inputs, spec.input_size).inputs
    with torch.no_grad():
        output = network({n: torch.from_numpy(i)[None] for n, i in inputs.items()})
    logits = (output.logits + output.aux_logits) / 2
    up = F.interpolate(logits, (100, 160), mode='bilinear', align_corners=False)
    assert (up.argmax(dim=1)[0].numpy() == result.mask).mean() > 0.999


@pytest.mark.parametrize(
    ('key', 'used'),
    [('ad_sam_small', SENSORS[:1]), ('fusion_sam_small', SENSORS[:2])],
)
def test_networks_without_a_gate_run_as_the_others_do(key, used, bundle):
    entry = load_zoo(ZOO)[key]
    torch.manual_seed(0)
    segmenter = Segmenter(entry, build_model(entry))
    (result,) = segmenter.segment([bundle])
    assert result.mask.shape == (100, 160)
    assert result.mask.max() < len(entry.labels.classes)
    assert result.used == used
    assert set(result.time_error_ns) == set(used)
    assert set(result.missing) == set(SENSORS) - set(used)
    assert 'no input' in result.missing[Modality.LIDAR]
    assert result.gate == {}
    assert result.depth is not None  # the depth image is no matter of the network
    with pytest.raises(SegmentationError, match=r"required \['camera'"):
        segmenter.segment([keep(bundle, SENSORS[1:])])


def test_warm_up_takes_any_view(segmenter, bundle):
    segmenter.warm_up(bundle.camera)
    assert segmenter.segment([]) == []
