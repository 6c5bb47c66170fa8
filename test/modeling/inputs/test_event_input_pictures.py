"""What a network sees of the event camera, form by form, and each form in a small network."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from sam_ad_perception.core.events.representations import time_surface, voxel_grid
from sam_ad_perception.core.sensors import Events, Modality
from sam_ad_perception.modeling.inference.segmenter import Segmenter
from sam_ad_perception.modeling.inputs.camera_view import BadFrameError, RenderContext
from sam_ad_perception.modeling.inputs.events import (
    EventCounts,
    EventImage,
    EventTimeSurface,
    EventVoxelGrid,
)
from sam_ad_perception.modeling.zoo.entries import build_model, load_zoo

MS = 1_000_000
FORMS = [EventCounts(), EventImage(), EventVoxelGrid(), EventTimeSurface()]
ENTRIES = {
    'event_counts': {'log': False, 'mean': [0.1258, 0.1273], 'std': [0.544, 0.476]},
    'event_image': {'colours': [[128, 128, 128], [255, 255, 255], [0, 0, 0], [64, 64, 64]]},
    'event_voxel_grid': {'bins': 4, 'duration_ms': 20.0},
    'event_time_surface': {'tau_ms': 5.0, 'alignment': 'rotation'},
}


@pytest.fixture
def frame(bundle):
    return bundle.frames[Modality.EVENT]


def own_view(form, frame):
    """A form in the event camera's own view: nothing is warped."""
    return form.render(frame, frame.camera, np.eye(4))


def test_counts_in_the_form_of_muses(frame):
    events = frame.data
    counts = np.zeros((2, *events.size))
    np.add.at(counts, (np.where(events.polarity, 0, 1), events.y, events.x), 1)
    got = own_view(EventCounts(log=False, mean=(0.1258, 0.1273), std=(0.544, 0.476)), frame)
    np.testing.assert_allclose(got[0], (counts[0] - 0.1258) / 0.544, atol=1e-4)
    np.testing.assert_allclose(got[1], (counts[1] - 0.1273) / 0.476, atol=1e-4)


def test_image_is_drawn_from_events_or_taken_as_it_is(frame):
    drawn = own_view(EventImage(), frame)
    events = frame.data
    wanted = np.zeros((3, *events.size))
    wanted[2 * events.polarity.astype(int), events.y, events.x] = 1
    np.testing.assert_allclose(drawn, wanted, atol=1e-5)
    picture = np.rint(255 * wanted).astype(np.uint8).transpose(1, 2, 0)
    rendered = dataclasses.replace(frame, data=np.ascontiguousarray(picture))
    np.testing.assert_allclose(own_view(EventImage(), rendered), drawn, atol=1e-5)


def test_voxel_grid_spans_the_duration_and_is_normalised_where_it_is_not_zero(frame):
    plain = own_view(EventVoxelGrid(normalize=False), frame)
    wanted = voxel_grid(frame.data, 5, frame.stamp_ns - 30 * MS, frame.stamp_ns)
    np.testing.assert_allclose(plain, wanted, atol=1e-5)
    grid = own_view(EventVoxelGrid(), frame)
    np.testing.assert_array_equal(grid[wanted == 0], 0)
    assert grid[wanted != 0].mean() == pytest.approx(0, abs=1e-4)
    assert grid[wanted != 0].std() == pytest.approx(1, abs=1e-4)


def test_time_surface_forgets_what_is_older_than_the_duration(frame):
    whole = own_view(EventTimeSurface(), frame)
    np.testing.assert_allclose(whole, time_surface(frame.data, frame.stamp_ns, 10 * MS), atol=1e-5)
    recent = own_view(EventTimeSurface(duration_ms=7.0), frame)
    oldest = np.exp(np.float32(-0.7))
    np.testing.assert_allclose(recent[recent > 0], whole[recent > 0])
    assert recent[recent > 0].min() >= oldest
    assert (whole > oldest + 1e-4).sum() == (recent > oldest + 1e-4).sum()


@pytest.mark.parametrize('form', FORMS, ids=lambda form: type(form).__name__)
def test_events_after_the_stamp_do_not_count(form, frame):
    """A sensor that takes over may lead with a frame older than the newest events."""
    early = dataclasses.replace(frame, stamp_ns=frame.stamp_ns - 10 * MS)
    cut = frame.data.t_ns <= early.stamp_ns
    columns = (frame.data.x, frame.data.y, frame.data.polarity, frame.data.t_ns)
    until = dataclasses.replace(early, data=Events(*(c[cut] for c in columns), frame.data.size))
    np.testing.assert_array_equal(own_view(form, early), own_view(form, until))


@pytest.mark.parametrize('form', FORMS, ids=lambda form: type(form).__name__)
def test_without_events_in_time_the_sensor_is_missing(form, frame):
    late = dataclasses.replace(frame, stamp_ns=frame.stamp_ns + 40 * MS)
    with pytest.raises(BadFrameError, match='no events in the last 30 ms'):
        own_view(form, late)


@pytest.mark.parametrize('form', FORMS, ids=lambda form: type(form).__name__)
def test_a_window_shorter_than_that_of_the_training_is_noted(form, frame, bundle):
    for held_ms, noted in ((30, False), (20, True)):
        start_ns = frame.stamp_ns - held_ms * MS
        short = dataclasses.replace(frame, data=dataclasses.replace(frame.data, start_ns=start_ns))
        context = RenderContext(bundle, bundle.camera)
        form.render(short, frame.camera, np.eye(4), context)
        assert ('event' in context.notes) is noted
    assert context.notes['event'] == (
        'events of 20 ms, the network was trained on 30 ms: raise bundler.event_window_s'
    )


@pytest.mark.parametrize('form', [f for f in FORMS if not isinstance(f, EventImage)])
def test_a_rendered_picture_serves_only_the_image_form(form, frame):
    picture = dataclasses.replace(frame, data=np.zeros((*frame.data.size, 3), np.uint8))
    with pytest.raises(BadFrameError, match='is a rendered image'):
        own_view(form, picture)


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: EventCounts(duration_ms=0), 'duration_ms must be positive'),
        (lambda: EventCounts(std=(1.0, 0.0)), 'std must be positive'),
        (lambda: EventVoxelGrid(bins=1), 'bins must be at least 2'),
        (lambda: EventTimeSurface(tau_ms=-1), 'tau_ms must be positive'),
        (lambda: EventImage(colours=((0, 0, 0),) * 3), 'colours must be four'),
        (lambda: EventImage(alignment='guess'), 'alignment must be one of'),
    ],
)
def test_wrong_constants_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize('name', ENTRIES)
def test_a_zoo_entry_names_a_form_and_segments_a_bundle(name, zoo_path, tmp_path, bundle):
    zoo = yaml.safe_load(zoo_path.read_text())
    zoo['models']['tiny']['modalities']['event'] = {'representation': name, **ENTRIES[name]}
    zoo_path.write_text(yaml.safe_dump(zoo))
    spec = load_zoo(zoo_path)['tiny']
    torch.manual_seed(0)
    save_file(build_model(spec).state_dict(), tmp_path / 'tiny.safetensors')
    segmenter = Segmenter.from_zoo(zoo_path, 'tiny', tmp_path, threads=1)
    (result,) = segmenter.segment([bundle])
    assert Modality.EVENT in result.used
    assert result.mask.shape == bundle.camera.size
    without = {m: f for m, f in bundle.frames.items() if m is not Modality.EVENT}
    (blind,) = segmenter.segment([dataclasses.replace(bundle, frames=without)])
    assert Modality.EVENT not in blind.used
    assert (blind.confidence != result.confidence).any()
