from __future__ import annotations

import dataclasses
import re

import cv2
import numpy as np
import pytest

from sam_ad_perception.core.images.thermal import PlanckConstants, ThermalRanges
from sam_ad_perception.core.sensors import CameraModel, Modality, SensorFrame
from sam_ad_perception.core.status import WARN, summarize_segmentation
from sam_ad_perception.modeling.inference.expert_network import ExpertNetwork
from sam_ad_perception.modeling.inference.segmenter import Segmenter
from sam_ad_perception.modeling.inputs.preparation import prepare_bundle
from sam_ad_perception.modeling.inputs.thermal import (
    ThermalFixedRange,
    ThermalPercentile,
    ThermalRunningPercentile,
)
from sam_ad_perception.modeling.zoo.entries import load_zoo

SIZE = (64, 96)
VIEW = CameraModel(96, 64, np.array([[80.0, 0, 47.5], [0, 80.0, 31.5], [0, 0, 1]]))
FIXED = ThermalFixedRange(low=-10.0, high=50.0, unit='celsius')
EIGHT_BITS = 'the image has 8 bits .* trained on radiometric counts'


def thermal_frame(image, stamp_ns=0, frame_id='thermal_optical'):
    return SensorFrame(Modality.THERMAL, stamp_ns, frame_id, image, VIEW)


def with_thermal(bundle, image, stamp_ns=None, frame_id='thermal_optical'):
    """The bundle with another thermal image, of the size of the one it has."""
    frame = bundle.frames[Modality.THERMAL]
    stamp_ns = frame.stamp_ns if stamp_ns is None else stamp_ns
    frame = dataclasses.replace(frame, data=image, stamp_ns=stamp_ns, frame_id=frame_id)
    return dataclasses.replace(bundle, frames={**bundle.frames, Modality.THERMAL: frame})


def scene(rng, low=29000, high=30000):
    return rng.integers(low, high, VIEW.size).astype(np.uint16)


def test_a_fixed_range_is_the_temperature_whatever_else_is_in_the_image(rng):
    image = scene(rng)
    hot = image.copy()
    hot[:20, :20] = 60000
    for each in (image, hot):
        got = FIXED.render(thermal_frame(each), VIEW, np.eye(4))[0]
        celsius = each / 100 - 273.15
        expected = np.clip((celsius + 10) / 60, 0, 1) * 2 - 1
        np.testing.assert_allclose(got, expected, atol=1e-5)


def test_cameras_of_other_calibration_give_the_same_input(rng):
    kelvin = rng.uniform(270, 320, VIEW.size)
    p = PlanckConstants(17096.453, 1428.0, 1.0, -370.0, 0.0480848)
    planck = p.r1 / (p.r2 * (np.exp(p.b / kelvin) - p.f)) - p.o
    images = {
        FIXED: kelvin * 100,
        dataclasses.replace(FIXED, kelvin_per_count=0.04): kelvin * 25,
        dataclasses.replace(FIXED, planck=p): planck,
    }
    expected = np.clip((kelvin - 263.15) / 60, 0, 1) * 2 - 1
    for form, counts in images.items():
        image = np.rint(counts).astype(np.uint16)
        got = form.render(thermal_frame(image), VIEW, np.eye(4))[0]
        np.testing.assert_allclose(got, expected, atol=2e-3)
    celsius = (kelvin - 273.15).astype(np.float32)
    got = FIXED.render(thermal_frame(celsius), VIEW, np.eye(4))[0]
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_eight_bits_where_temperatures_are_expected_are_told(bundle, rng, dtype):
    image = rng.integers(0, 256, (64, 80)).astype(dtype)
    spoilt = with_thermal(bundle, image)
    prepared = prepare_bundle(spoilt, {'thermal': FIXED}, SIZE)
    assert re.search(EIGHT_BITS, prepared.notes['thermal'])
    assert prepared.inputs['thermal'].std() > 0.2  # scaled by what it has
    for form in (
        ThermalPercentile(),
        ThermalRunningPercentile(),
        ThermalFixedRange(low=0.0, high=255.0, unit='counts'),
    ):
        assert prepare_bundle(spoilt, {'thermal': form}, SIZE).notes == {}
    assert prepare_bundle(bundle, {'thermal': FIXED}, SIZE).notes == {}


def test_recorded_pairs_of_visible_and_thermal_pictures_are_told_as_gain_controlled(
    sample_data, bundle
):
    names = sorted((sample_data / 'rgbt' / 'msrs' / 'ir').glob('*.png'))[:3]
    assert names
    for path in names:
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        height, width = image.shape
        K = np.array([[0.8 * width, 0, width / 2], [0, 0.8 * width, height / 2], [0, 0, 1]])
        camera = CameraModel(width, height, K, frame_id='camera_optical')
        visible = cv2.cvtColor(cv2.imread(str(path).replace('/ir/', '/vi/')), cv2.COLOR_BGR2RGB)
        frames = {
            m: SensorFrame(m, 0, f'{m}_optical', data, camera)
            for m, data in ((Modality.CAMERA, visible), (Modality.THERMAL, image))
        }
        T_camera = {Modality.THERMAL: np.eye(4)}
        pair = dataclasses.replace(bundle, camera=camera, frames=frames, T_camera=T_camera)
        prepared = prepare_bundle(pair, {'thermal': FIXED}, (240, 320))
        assert re.search(EIGHT_BITS, prepared.notes['thermal'])
        expected = cv2.resize(image, (320, 240), interpolation=cv2.INTER_AREA) / 127.5 - 1
        assert np.abs(prepared.inputs['thermal'][0] - expected).max() < 0.02


@pytest.mark.parametrize(
    'form',
    [ThermalPercentile(), ThermalRunningPercentile(), FIXED],
    ids=lambda f: type(f).__name__,
)
def test_temperatures_that_are_no_number_are_the_coldest(rng, form):
    celsius = rng.normal(20, 3, VIEW.size).astype(np.float32)
    holed = celsius.copy()
    holed[5:9, 5:9] = np.nan
    holed[40, 40] = np.inf
    got = form.render(thermal_frame(holed), VIEW, np.eye(4))
    assert np.isfinite(got).all()
    np.testing.assert_array_equal(got[0, 5:9, 5:9], got.min())
    empty = np.full(VIEW.size, np.nan, np.float32)
    with pytest.raises(ValueError, match='no finite pixel'):
        form.render(thermal_frame(empty), VIEW, np.eye(4))


def test_a_stream_keeps_its_range_and_a_single_frame_has_its_own(bundle, rng):
    form = {'thermal': ThermalRunningPercentile()}
    cool, warm = scene(rng)[:, :80], scene(rng, 29500, 30500)[:, :80]
    ranges = ThermalRanges()
    prepare_bundle(with_thermal(bundle, cool, 0), form, SIZE, ranges)
    after = prepare_bundle(with_thermal(bundle, warm, 10**8), form, SIZE, ranges)
    alone = prepare_bundle(with_thermal(bundle, warm, 10**8), form, SIZE)
    percentile = prepare_bundle(
        with_thermal(bundle, warm), {'thermal': ThermalPercentile(limit=1.0)}, SIZE
    )
    np.testing.assert_allclose(
        alone.inputs['thermal'], percentile.inputs['thermal'], atol=1e-4
    )  # the first of a stream
    seen = after.inputs['thermal'] != 0
    assert after.inputs['thermal'][seen].mean() > alone.inputs['thermal'][seen].mean() + 0.5


RUNNING = """
      thermal: {representation: thermal_running_percentile, low: 2.0, time_constant_s: 4.0}
"""
RADIOMETRIC = """
      thermal:
        representation: thermal_fixed_range
        low: 260.0
        high: 320.0
        planck: {r1: 17096.0, b: 1428.0, f: 1.0, o: -370.0, r2: 0.048}
        alignment: depth
"""


def other_zoo(zoo_path, written):
    text = zoo_path.read_text()
    line = '      thermal: {representation: thermal_percentile}\n'
    assert line in text
    zoo_path.write_text(text.replace(line, written.lstrip('\n')))
    return load_zoo(zoo_path)['tiny']


def test_the_zoo_states_the_form(zoo_path):
    running = other_zoo(zoo_path, RUNNING).inputs['thermal']
    assert running == ThermalRunningPercentile(low=2.0, time_constant_s=4.0)


def test_the_zoo_states_the_calibration(zoo_path):
    fixed = other_zoo(zoo_path, RADIOMETRIC).inputs['thermal']
    planck = PlanckConstants(17096.0, 1428.0, 1.0, -370.0, 0.048)
    assert fixed == ThermalFixedRange(low=260.0, high=320.0, planck=planck, alignment='depth')


@pytest.mark.parametrize(
    ('written', 'message'),
    [
        (RADIOMETRIC.replace('260', '330'), 'low must be below high'),
        (RADIOMETRIC.replace('depth', 'guess'), "alignment must be one of .* got 'guess'"),
        (RADIOMETRIC.replace('b: 1428', 'b: -1'), 'planck: b must be positive'),
        (RUNNING.replace('2.0', '99.5'), 'must be percentiles'),
        (RUNNING.replace('time_constant_s', 'tau'), r"unknown fields \['tau'\]"),
    ],
)
def test_the_zoo_refuses_what_makes_no_sense(zoo_path, written, message):
    with pytest.raises(ValueError, match=rf'models.tiny.modalities.thermal.*{message}'):
        other_zoo(zoo_path, written)


def test_the_status_warns_of_eight_bits(zoo_path, network, bundle, rng):
    segmenter = Segmenter([ExpertNetwork(other_zoo(zoo_path, RADIOMETRIC), network)])
    good, spoilt = segmenter.segment(
        [bundle, with_thermal(bundle, rng.integers(0, 256, (64, 80), dtype=np.uint8))]
    )
    assert Modality.THERMAL in spoilt.used
    assert Modality.THERMAL not in good.notes
    status = summarize_segmentation(spoilt)
    assert status.level == WARN
    assert re.search(f'thermal: {EIGHT_BITS}', status.message)


def test_a_segmenter_follows_every_camera_of_its_process_by_itself(zoo_path, network, bundle):
    spec = other_zoo(zoo_path, RUNNING)
    noise = np.random.default_rng(0).integers(0, 800, (64, 80))
    seen = []
    network.register_forward_pre_hook(lambda _, given: seen.append(given[0]['thermal'].numpy()))

    def drive(names, steps=range(4)):
        """What the network gets of each camera, the left one's images growing warmer."""
        segmenter = Segmenter([ExpertNetwork(spec, network)])
        seen.clear()
        for k in steps:
            images = {'left': noise + 29000 + 200 * k, 'right': noise + 21000 + k}
            segmenter.segment(
                [with_thermal(bundle, images[n].astype(np.uint16), k * 10**8, n) for n in names]
            )
        return {name: [batch[row] for batch in seen] for row, name in enumerate(names)}

    both, left = drive(['left', 'right']), drive(['left'])
    np.testing.assert_array_equal(both['left'], left['left'])
    np.testing.assert_array_equal(both['left'], drive(['right', 'left'])['left'])
    alone = drive(['left'], steps=[3])['left'][0]  # without its past
    assert left['left'][3].mean() > alone.mean() + 0.3
