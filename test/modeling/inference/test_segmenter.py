from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from sam_ad_perception.core.health.config import UNCHECKED
from sam_ad_perception.core.health.judgement import HealthFinding, Severity
from sam_ad_perception.core.health.measured_costs import CAMERA
from sam_ad_perception.core.health.monitor import CheckedBundle
from sam_ad_perception.core.labels import LABEL_SPACES, mapping
from sam_ad_perception.core.routing.router import RoutingConfig
from sam_ad_perception.core.routing.table import RoutingRow, RoutingTable
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.core.stability.temporal_filter import StabilityConfig
from sam_ad_perception.modeling.inference.expert_network import ExpertNetwork
from sam_ad_perception.modeling.inference.segmenter import SegmentationError, Segmenter
from sam_ad_perception.modeling.inputs.preparation import prepare_bundle
from sam_ad_perception.modeling.zoo.entries import build_model, load_zoo

ZOO = Path(__file__).parents[3] / 'models/zoo.yaml'

SENSORS = (Modality.CAMERA, Modality.THERMAL, Modality.EVENT, Modality.LIDAR)
SUBSETS = [s for k in range(1, 5) for s in itertools.combinations(SENSORS, k)]


def keep(bundle, subset):
    frames = {m: f for m, f in bundle.frames.items() if m in subset}
    missing = {m: 'removed' for m in SENSORS if m not in subset}
    return dataclasses.replace(bundle, frames=frames, missing=missing)


@pytest.fixture
def segmenter(spec, network):
    return Segmenter([ExpertNetwork(spec, network)])


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
    assert set(result.latency_s) - {'depth'} == {'health', 'align', 'network', 'mask'}
    assert (result.depth is not None) == (Modality.LIDAR in subset)
    assert ('depth' in result.latency_s) == (Modality.LIDAR in subset)


def test_depth_is_made_for_those_who_want_it(segmenter, bundle):
    without, wanted = segmenter.segment_each([bundle, bundle], [False, True])
    assert without.depth is None
    assert without.depth_measured is None
    assert wanted.depth is not None
    np.testing.assert_array_equal(without.mask, wanted.mask)


def test_confidence_is_made_for_those_who_want_it(segmenter, bundle):
    without, wanted = segmenter.segment_each([bundle, bundle], confidence=[False, True])
    assert (without.confidence.size, wanted.confidence.shape) == (0, wanted.mask.shape)
    assert (without.mask == wanted.mask).mean() > 0.999


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
    with pytest.raises(
        SegmentationError, match=r'no network can run: tiny needs one of .* \(camera: removed'
    ):
        segmenter.segment([keep(bundle, ())])


def test_a_required_sensor_that_is_missing_is_an_error(spec, network, bundle):
    needy = Segmenter([ExpertNetwork(dataclasses.replace(spec, required=('camera',)), network)])
    with pytest.raises(SegmentationError, match='tiny needs camera'):
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
    needy = Segmenter([ExpertNetwork(dataclasses.replace(spec, required=('camera',)), network)])
    with pytest.raises(SegmentationError, match=r'tiny needs camera \(camera: black'):
        needy.segment([later(bundle, camera=BLACK)])


def test_a_sensor_that_the_vehicle_requires_must_be_healthy_too(segmenter, bundle):
    wanted = dataclasses.replace(bundle, required=(Modality.CAMERA,))
    assert len(segmenter.segment([wanted])) == 1
    with pytest.raises(SegmentationError, match=r'required camera missing \(camera: black'):
        segmenter.segment([later(wanted, camera=BLACK)])


def test_without_any_healthy_sensor_there_is_no_mask(segmenter, bundle):
    pair = keep(bundle, SENSORS[:2])
    segmenter.segment([pair])
    segmenter.segment([later(pair)])  # once is a repeat, which is used
    with pytest.raises(SegmentationError, match=r'camera: frozen.*thermal: frozen'):
        segmenter.segment([later(later(pair))])


def test_health_is_kept_per_view(segmenter, bundle):
    first = keep(bundle, SENSORS[:1])
    rear = dataclasses.replace(first.camera, frame_id='rear')
    second = dataclasses.replace(later(first), camera=rear)
    results = segmenter.segment([first, second])
    assert [r.missing.get(Modality.CAMERA) for r in results] == [None, None]
    segmenter.segment([later(first)])
    with pytest.raises(SegmentationError, match='camera: frozen'):
        segmenter.segment([later(later(first))])


def test_a_camera_that_costs_more_than_its_absence_is_left_out(segmenter, bundle, monkeypatch):
    """Only where a network runs on the rest; what costs little is used."""
    kind, cheap = 'frozen_part', 'blurred'
    assert CAMERA[kind].lost > CAMERA[kind].absent + 1 > CAMERA[cheap].lost

    def tell(name):
        finding = HealthFinding(name, f'{name}: so', Severity.DEGRADED, 1.0, 0.5)
        found = {Modality.CAMERA: (finding,)}
        monkeypatch.setattr(segmenter.health, 'check', lambda given: CheckedBundle(given, found))

    tell(kind)
    (result,) = segmenter.segment([bundle])
    assert Modality.CAMERA not in result.used
    assert result.missing[Modality.CAMERA].startswith('frozen_part: so (such a camera costs ')
    (alone,) = segmenter.segment([keep(bundle, {Modality.CAMERA})])
    assert alone.used == (Modality.CAMERA,)
    tell(cheap)
    (result,) = segmenter.segment([bundle])
    assert result.used == SENSORS


def test_masks_of_a_stream_are_steadied_where_that_is_wanted(spec, network, bundle):
    """The second frame is noisier; alone, after a reset and in another view it is as it was."""
    expert = ExpertNetwork(spec, network)
    first = keep(bundle, {Modality.CAMERA})
    camera = first.frames[Modality.CAMERA]
    noise = np.random.default_rng(2).normal(0, 12, camera.data.shape)
    noisy = np.clip(camera.data + noise, 0, 255).astype(np.uint8)
    stamp_ns = first.stamp_ns + 66_000_000
    frame = dataclasses.replace(camera, stamp_ns=stamp_ns, data=noisy)
    second = dataclasses.replace(first, stamp_ns=stamp_ns, frames={Modality.CAMERA: frame})
    settings = {'health': UNCHECKED, 'stability': StabilityConfig(filter=True)}
    plain, steady = Segmenter([expert], health=UNCHECKED), Segmenter([expert], **settings)
    (alone,) = plain.segment([second])
    masks = [result.mask for result in steady.segment([first, second])]
    np.testing.assert_array_equal(masks[0], plain.segment([first])[0].mask)
    assert 0.001 < (masks[1] != alone.mask).mean() < 0.5
    again = Segmenter([expert], **settings)
    for expected, given in zip(masks, (first, second), strict=True):
        np.testing.assert_array_equal(again.segment([given])[0].mask, expected)
    np.testing.assert_array_equal(again.fresh().segment([second])[0].mask, alone.mask)
    again.reset()
    np.testing.assert_array_equal(again.segment([second])[0].mask, alone.mask)


def test_after_a_reset_streams_begin_anew(segmenter, bundle):
    first = keep(bundle, SENSORS[:1])
    segmenter.segment([first])
    segmenter.reset()
    assert segmenter.segment([later(first)])[0].used == (Modality.CAMERA,)


def test_checking_can_be_switched_off(spec, network, bundle):
    unchecked = Segmenter([ExpertNetwork(spec, network)], health=UNCHECKED)
    (result,) = unchecked.segment([later(bundle, camera=BLACK)])
    assert Modality.CAMERA in result.used


def test_mean_of_both_heads_is_a_switch(spec, network, bundle):
    arguments = dataclasses.replace(spec.arguments, output='mean')
    both = Segmenter([ExpertNetwork(dataclasses.replace(spec, arguments=arguments), network)])
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
    segmenter = Segmenter([ExpertNetwork(entry, build_model(entry))])
    (result,) = segmenter.segment([bundle])
    assert result.mask.shape == (100, 160)
    assert result.mask.max() < len(entry.labels.classes)
    assert result.used == used
    assert set(result.time_error_ns) == set(used)
    assert result.missing == {}  # it does without the others: none of them has failed
    assert result.gate == {}
    assert result.depth is not None  # the depth image is no matter of the network
    with pytest.raises(SegmentationError, match=f'{key} needs camera'):
        segmenter.segment([keep(bundle, SENSORS[1:])])


def test_warm_up_takes_any_view(segmenter, bundle):
    segmenter.warm_up(bundle.camera)
    assert segmenter.segment([]) == []


ROUTED = RoutingTable(
    'drives',
    'val',
    'cityscapes',
    (400, 640),
    (
        RoutingRow('tiny', ('camera', 'thermal', 'lidar'), 70.0),
        RoutingRow('tiny', ('camera', 'thermal', 'event', 'lidar'), 65.0),
        RoutingRow('tiny', ('lidar',), 30.0),
        RoutingRow('camera_only', ('camera',), 60.0),
    ),
)


@pytest.fixture
def routed(spec, network):
    """Two networks: the tiny one, and one that takes the camera alone"""
    spec_b = dataclasses.replace(
        spec,
        key='camera_only',
        inputs={'camera': spec.inputs['camera']},
        required=('camera',),
    )
    return Segmenter(
        [ExpertNetwork(spec, network), ExpertNetwork(spec_b, build_model(spec_b))],
        table=ROUTED,
        routing=RoutingConfig(recovery_frames=2),
    )


def test_router_chooses_network_and_sensors_by_what_was_measured(routed, bundle):
    (result,) = routed.segment([bundle])
    assert result.expert == 'tiny'
    assert result.used == (Modality.CAMERA, Modality.THERMAL, Modality.LIDAR)
    assert result.missing == {}
    assert '70.0 mIoU measured (drives), best of 4 possible' in result.reason
    (without,) = routed.segment([keep(bundle, SENSORS[:2])])
    assert (without.expert, without.used) == ('camera_only', SENSORS[:1])
    assert without.missing[Modality.LIDAR] == 'removed'


def test_router_degrades_at_once_and_recovers_after_good_frames(routed, bundle):
    frames = [bundle, keep(bundle, SENSORS[:1]), bundle, bundle]
    experts = [routed.segment([frame])[0].expert for frame in frames]
    assert experts == ['tiny', 'camera_only', 'camera_only', 'tiny']


def test_condition_decides_where_the_camera_tells_it(spec, network, bundle):
    rows = (
        RoutingRow('tiny', ('camera', 'lidar'), 50.0, {'day': 70.0, 'night': 20.0}),
        RoutingRow('tiny', ('thermal', 'lidar'), 60.0, {'day': 40.0, 'night': 60.0}),
    )
    table = dataclasses.replace(ROUTED, rows=rows)
    routed = Segmenter([ExpertNetwork(spec, network)], table=table)
    dark = (bundle.frames[Modality.CAMERA].data // 8).astype(np.uint8)
    (night,) = routed.segment([later(bundle, camera=dark)])
    assert night.used == (Modality.THERMAL, Modality.LIDAR)
    assert '60.0 mIoU measured (drives, night)' in night.reason
    routed.reset()
    (day,) = routed.segment([bundle])
    assert day.used == (Modality.CAMERA, Modality.LIDAR)
    # the condition outlives the camera
    (blind,) = routed.segment([keep(bundle, SENSORS[1:])])
    assert '40.0 mIoU measured (drives, day)' in blind.reason


@pytest.mark.parametrize(
    ('later_ns', 'told'),
    [(60_000_000_000, 'drives, day)'), (60_000_000_001, 'drives)')],
)
def test_the_condition_holds_for_a_minute_without_the_camera(
    spec, network, bundle, later_ns, told
):
    rows = (
        RoutingRow('tiny', ('camera', 'lidar'), 50.0, {'day': 70.0, 'night': 20.0}),
        RoutingRow('tiny', ('thermal', 'lidar'), 60.0, {'day': 40.0, 'night': 60.0}),
    )
    routed = Segmenter(
        [ExpertNetwork(spec, network)],
        table=dataclasses.replace(ROUTED, rows=rows),
        health=UNCHECKED,
    )
    routed.segment([bundle])
    blind = keep(bundle, SENSORS[1:])
    (result,) = routed.segment([dataclasses.replace(blind, stamp_ns=blind.stamp_ns + later_ns)])
    assert told in result.reason


@pytest.mark.parametrize(('others', 'remembered'), [(63, True), (64, False)])
def test_so_many_views_keep_the_state_of_their_router(routed, bundle, others, remembered):
    """Of a view that is forgotten the best choice runs at once, as of a new one."""
    (alone,) = routed.segment([keep(bundle, SENSORS[:1])])
    assert alone.expert == 'camera_only'
    for number in range(others):
        view = dataclasses.replace(bundle.camera, frame_id=f'view {number}')
        routed.segment([dataclasses.replace(keep(bundle, SENSORS[:1]), camera=view)])
    (result,) = routed.segment([bundle])
    assert result.expert == ('camera_only' if remembered else 'tiny')


def test_each_view_is_routed_by_itself_and_an_error_spoils_no_other(routed, bundle):
    rear = dataclasses.replace(bundle.camera, frame_id='rear')
    blind = dataclasses.replace(keep(bundle, ()), camera=rear)
    good, bad = routed.segment_each([bundle, blind])
    assert good.expert == 'tiny'
    assert isinstance(bad, SegmentationError)
    assert 'camera_only needs camera (camera: removed' in str(bad)


def test_sensor_that_cannot_be_shown_in_the_view_is_routed_around(routed, bundle):
    nowhere = {m: T for m, T in bundle.T_camera.items() if m is not Modality.THERMAL}
    (result,) = routed.segment([dataclasses.replace(bundle, T_camera=nowhere)])
    assert (result.expert, result.used) == ('camera_only', SENSORS[:1])
    assert Modality.THERMAL in result.missing


def test_network_in_another_label_space_speaks_that_of_the_first(spec, network, bundle):
    first = ExpertNetwork(spec, network)
    (plain,) = Segmenter([first]).segment([bundle])
    camvid = dataclasses.replace(spec, key='camvid', label_space='camvid')
    segmenter = Segmenter([ExpertNetwork(camvid, build_model(camvid)), first])
    segmenter.table = dataclasses.replace(
        ROUTED, rows=(RoutingRow('tiny', ('camera', 'thermal', 'event', 'lidar'), 70.0),)
    )
    (result,) = segmenter.segment([bundle])
    assert result.expert == 'tiny'
    lut = mapping(LABEL_SPACES['cityscapes'], LABEL_SPACES['camvid'])
    np.testing.assert_array_equal(result.mask, lut[plain.mask])


def test_network_whose_classes_cannot_be_told_is_not_eligible(spec, network, bundle):
    strange = dataclasses.replace(spec, key='strange', label_space='mcubes')
    segmenter = Segmenter(
        [ExpertNetwork(spec, network), ExpertNetwork(strange, build_model(strange))]
    )
    assert 'no mapping from label space' in segmenter.unusable['strange']
    assert segmenter.segment([bundle])[0].expert == 'tiny'


def test_of_several_networks_those_that_load_run(spec, network, bundle, tmp_path, zoo_path):
    save_file(network.state_dict(), tmp_path / 'tiny.safetensors')
    text = zoo_path.read_text()
    entry = text.split('models:\n')[1]
    both = text + entry.replace('tiny:', 'lost:', 1).replace('tiny.safe', 'lost.safe')
    (tmp_path / 'zoo.yaml').write_text(both)
    segmenter = Segmenter.from_zoo(tmp_path / 'zoo.yaml', ['lost', 'tiny'], tmp_path)
    assert list(segmenter.experts) == ['tiny']
    assert 'lost.safetensors' in segmenter.unusable['lost']
    assert segmenter.segment([bundle])[0].expert == 'tiny'
    with pytest.raises(ValueError, match=r'lost\.safetensors'):
        Segmenter.from_zoo(tmp_path / 'zoo.yaml', 'lost', tmp_path)


def break_weights(segmenter, key):
    """Let a network give NaN from now on, as weights do that were damaged in memory."""
    with torch.no_grad():
        for parameter in segmenter.experts[key].network.parameters():
            parameter.fill_(float('nan'))


def test_a_network_that_gives_no_numbers_is_left_out_after_three_frames(routed, bundle):
    good = [routed.segment([bundle])[0].expert]
    break_weights(routed, 'tiny')
    results = [routed.segment_each([bundle])[0] for _ in range(5)]
    assert good == ['tiny']
    for result in results[:3]:
        assert isinstance(result, SegmentationError)
        assert str(result) == 'tiny: the logits hold NaN or infinity'
    assert [result.expert for result in results[3:]] == ['camera_only'] * 2
    assert routed.unusable == {'tiny': '3 times on end tiny: the logits hold NaN or infinity'}


def test_without_another_network_the_reason_stays(segmenter, bundle):
    break_weights(segmenter, 'tiny')
    *_, last = [segmenter.segment_each([bundle])[0] for _ in range(5)]
    assert isinstance(last, SegmentationError)
    assert 'the logits hold NaN or infinity' in str(last)


def test_a_checkpoint_with_one_nan_is_refused(spec, network, tmp_path, zoo_path):
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    name = next(n for n, t in state.items() if t.is_floating_point() and t.numel() > 10)
    state[name].view(-1)[3] = float('nan')
    save_file(state, tmp_path / spec.checkpoint.file)
    with pytest.raises(ValueError, match=rf'NaN or infinity in {name} \(1 of \d+ values\)'):
        Segmenter.from_zoo(zoo_path, 'tiny', tmp_path)
