from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from sam_ad_perception.core.geometry.cameras import scale_camera
from sam_ad_perception.core.geometry.transforms import transform_points
from sam_ad_perception.core.images.alignment import estimate_surface, surface_map, warp_to_camera
from sam_ad_perception.core.sensors import Modality, SensorBundle
from sam_ad_perception.modeling.inference.expert_network import ExpertNetwork
from sam_ad_perception.modeling.inference.segmenter import Segmenter
from sam_ad_perception.modeling.inputs.events import EventCounts
from sam_ad_perception.modeling.inputs.preparation import prepare_bundle
from sam_ad_perception.modeling.inputs.thermal import (
    ThermalFixedRange,
    ThermalPercentile,
    ThermalRunningPercentile,
)
from sam_ad_perception.modeling.zoo.entries import load_zoo

SIZE = (64, 96)
FIXED = ThermalFixedRange(low=280.0, high=310.0)


@pytest.fixture
def beside(bundle) -> SensorBundle:
    """The thermal camera and the event camera half a metre beside the camera."""
    T = np.eye(4)
    T[:3, 3] = (0.5, 0, 0)
    return dataclasses.replace(bundle, T_camera=dict.fromkeys(bundle.T_camera, T))


def without_lidar(bundle):
    frames = {m: f for m, f in bundle.frames.items() if m is not Modality.LIDAR}
    return dataclasses.replace(bundle, frames=frames)


def expected_by_depth(bundle, modality, image):
    """By hand: the lidar's surface, the map, OpenCV's remap."""
    view = scale_camera(bundle.camera, SIZE)
    points = transform_points(
        bundle.T_camera[Modality.LIDAR], bundle.frames[Modality.LIDAR].data.points
    )
    camera = bundle.frames[modality].camera
    surface = estimate_surface(points, view)
    u, v, valid = surface_map(camera, view, bundle.T_camera[modality], surface)
    return np.where(valid, cv2.remap(image, u, v, cv2.INTER_LINEAR), 0)


@pytest.mark.parametrize('form', [FIXED, ThermalPercentile(), ThermalRunningPercentile()])
@pytest.mark.parametrize('alignment', ['plane', 'rotation', 'depth'])
def test_each_form_is_aligned_as_its_entry_says(beside, form, alignment):
    form = dataclasses.replace(form, alignment=alignment, distance_m=7.0)
    prepared = prepare_bundle(beside, {'thermal': form}, SIZE)
    frame = beside.frames[Modality.THERMAL]
    same = dataclasses.replace(beside, camera=frame.camera, T_camera={Modality.THERMAL: np.eye(4)})
    plain = dataclasses.replace(form, alignment='rotation')
    image = prepare_bundle(same, {'thermal': plain}, frame.camera.size).inputs['thermal'][0]
    if alignment == 'depth':
        expected = expected_by_depth(beside, Modality.THERMAL, image)
    else:
        expected, _ = warp_to_camera(
            image, frame.camera, scale_camera(beside.camera, SIZE),
            beside.T_camera[Modality.THERMAL],
            distance_m=7.0 if alignment == 'plane' else np.inf,
        )  # fmt: skip
    np.testing.assert_allclose(prepared.inputs['thermal'][0], expected, atol=1e-5)
    assert prepared.notes == {}


def test_without_lidar_depth_becomes_a_plane_and_that_is_told(beside):
    blind = without_lidar(beside)
    deep = dataclasses.replace(FIXED, alignment='depth', distance_m=9.0)
    got = prepare_bundle(blind, {'thermal': deep, 'event': EventCounts(alignment='depth')}, SIZE)
    plane = prepare_bundle(
        blind, {'thermal': dataclasses.replace(deep, alignment='plane'), 'event': EventCounts()},
        SIZE,
    )  # fmt: skip
    for name in ('thermal', 'event'):
        np.testing.assert_array_equal(got.inputs[name], plane.inputs[name])
    assert got.notes == {
        'thermal': 'aligned to a plane at 9 m, for there is no lidar depth',
        'event': 'aligned to a plane at 20 m, for there is no lidar depth',
    }
    assert plane.notes == {}


def test_a_sweep_that_cannot_be_used_is_no_depth(beside):
    frame = beside.frames[Modality.LIDAR]
    cloud = dataclasses.replace(frame.data, points=frame.data.points * np.float32(np.nan))
    frames = {**beside.frames, Modality.LIDAR: dataclasses.replace(frame, data=cloud)}
    spoilt = dataclasses.replace(beside, frames=frames)
    deep = dataclasses.replace(FIXED, alignment='depth')
    prepared = prepare_bundle(spoilt, {'thermal': deep}, SIZE)
    assert 'no lidar depth' in prepared.notes['thermal']
    behind = dataclasses.replace(
        beside, T_camera={**beside.T_camera, Modality.LIDAR: np.diag([-1.0, 1, -1, 1])}
    )
    assert 'no lidar depth' in prepare_bundle(behind, {'thermal': deep}, SIZE).notes['thermal']


def test_what_the_bundle_tells_is_kept(beside):
    told = dataclasses.replace(
        without_lidar(beside), notes={Modality.THERMAL: 'late', Modality.CAMERA: 'odd'}
    )
    deep = dataclasses.replace(FIXED, alignment='depth')
    notes = prepare_bundle(told, {'thermal': deep}, SIZE).notes
    assert notes['thermal'].startswith('late; aligned to a plane')
    assert notes['camera'] == 'odd'


def test_events_of_both_polarities_are_aligned_by_depth(beside):
    form = EventCounts(alignment='depth')
    got = prepare_bundle(beside, {'event': form}, SIZE).inputs['event']
    events = beside.frames[Modality.EVENT].data
    for channel, polarity in enumerate((True, False)):
        keep = events.polarity == polarity
        counts = np.zeros(events.size, np.float32)
        np.add.at(counts, (events.y[keep], events.x[keep]), 1)
        expected = expected_by_depth(beside, Modality.EVENT, np.log1p(counts))
        np.testing.assert_allclose(got[channel], expected, atol=1e-5)


def test_a_segmenter_tells_that_it_fell_back(zoo_path, network, beside):
    text = zoo_path.read_text()
    written = '{representation: thermal_percentile, alignment: depth}'
    zoo_path.write_text(text.replace('{representation: thermal_percentile}', written))
    segmenter = Segmenter([ExpertNetwork(load_zoo(zoo_path)['tiny'], network)])
    whole, blind = segmenter.segment([beside, without_lidar(beside)])
    assert Modality.THERMAL not in whole.notes
    assert 'plane at 20 m' in blind.notes[Modality.THERMAL]
