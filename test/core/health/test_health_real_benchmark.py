"""The benchmark on real recordings counts rightly, and its faults are what they say."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from benchmarks.real_faults.camera_faults import camera_faults
from benchmarks.real_faults.faults import SEVERITIES, Fault, each, steady
from benchmarks.real_faults.recordings import Recording
from benchmarks.real_faults.scoring import joined, score_cell, score_healthy
from benchmarks.sensors.health_real import fault_rows, sum_rows
from sam_ad_perception.core.sensors import Modality

FAULTS = {fault.name: fault for fault in camera_faults()}


def street(number, rng, size=(120, 160)):
    """A street that moves by three pixels a frame, with noise."""
    coarse = np.random.default_rng(0).uniform(30, 220, (30, 80, 3)).astype(np.float32)
    wide = cv2.resize(coarse, (4 * size[1], size[0]), interpolation=cv2.INTER_NEAREST)
    image = wide[:, 3 * number : 3 * number + size[1]] + rng.normal(0, 2, (*size, 3))
    return np.clip(image, 0, 255).astype(np.uint8)


@pytest.fixture(scope='module')
def clip():
    rng = np.random.default_rng(1)
    frames = [street(number, rng) for number in range(18)]
    return Recording('street', 'street', 10.0, lambda: frames, head=10)


def darken(share):
    """Every so many-th frame is black."""

    def apply(before, frames, severity, rng):
        dark = rng.permutation(len(frames)) < round(share * len(frames))
        return [np.zeros_like(f) if d else f for f, d in zip(frames, dark, strict=True)]

    return apply


@pytest.mark.parametrize(('share', 'found'), [(1.0, True), (0.5, True), (0.375, False)])
@pytest.mark.parametrize('cause', ['black', 'noisy'])
def test_a_fault_is_found_in_half_of_its_frames_and_named_by_the_right_kind(
    clip, share, found, cause
):
    fault = Fault('dark', 'looked_at', frozenset({cause}), darken(share))
    cell = score_cell(fault, 1, clip, Modality.CAMERA)
    assert (cell.frames, cell.found) == (8, found)
    assert cell.named == (found and cause == 'black')
    assert (cell.delay_s is None) == (cause != 'black')
    assert cell.kinds['black'] == round(8 * share)


def test_cells_are_counted_by_sensor_half_severity_and_fault(clip):
    dark = Fault('dark', 'looked_at', frozenset({'black'}), darken(1.0))
    other = Fault('other', 'measured_only', frozenset({'noisy'}), darken(1.0))
    cells = [
        score_cell(fault, k, clip, Modality.CAMERA) for fault in (dark, other) for k in (1, 2)
    ]
    by_fault = fault_rows([*cells, cells[0]])
    assert [(r['fault'], r['half'], r['cells'], r['found'], r['named']) for r in by_fault] == [
        ('dark', 'looked_at', 3, 3, 3),
        ('other', 'measured_only', 2, 2, 0),
    ]
    rows = sum_rows([*cells, cells[0]])
    assert [(r['half'], r['severity'], r['cells'], r['found'], r['named']) for r in rows] == [
        ('looked_at', 1, 2, 2, 2),
        ('looked_at', 2, 1, 1, 1),
        ('measured_only', 1, 1, 1, 0),
        ('measured_only', 2, 1, 1, 0),
    ]


def test_alarms_are_findings_in_healthy_frames(clip):
    score = score_healthy(clip, Modality.CAMERA)
    assert (score.frames, score.alarms, score.taken_out) == (18, 0, 0)
    repeated = Recording('twice', 'street', 10.0, lambda: [clip.frames[0]] * 3)
    again = score_healthy(repeated, Modality.CAMERA)
    assert again.frames == 3
    assert again.alarms == 2
    both = joined([score, again])
    assert [(each.frames, each.alarms) for each in both] == [(21, 2)]
    single = Recording('still', 'street', 1.0, lambda: [clip.frames[0]] * 3, still=True)
    assert score_healthy(single, Modality.CAMERA).alarms == 0


def test_the_halves_are_alike_and_every_fault_has_a_cause():
    halves = [fault.half for fault in FAULTS.values()]
    assert len(FAULTS) == len(camera_faults())
    assert abs(halves.count('looked_at') - halves.count('measured_only')) <= 4
    assert all(fault.causes for fault in FAULTS.values())


@pytest.mark.parametrize('name', [name for name in FAULTS if ':' not in name])
@pytest.mark.parametrize('severity', SEVERITIES)
def test_plain_damage_keeps_the_form_and_leaves_the_healthy_frames(clip, name, severity):
    fault = FAULTS[name]
    if fault.absent:
        pytest.skip(f'{fault.absent} is not installed')
    before, frames = clip.frames[:10], [frame.copy() for frame in clip.frames[10:]]
    whole = [frame.copy() for frame in frames]
    rng = np.random.default_rng(3)
    damaged = fault.damage(before, frames, severity, rng)
    assert [d.shape for d in damaged] == [f.shape for f in frames]
    assert {d.dtype for d in damaged} == {np.dtype(np.uint8)}
    assert any((d != f).any() for d, f in zip(damaged, frames, strict=True))
    assert all((f == w).all() for f, w in zip(frames, whole, strict=True))


def test_dirt_stays_where_it_is_and_noise_does_not():
    frames = [np.zeros((4, 5), np.uint8)] * 2
    rng = np.random.default_rng(0)

    def speckle(image, severity, rng):
        return rng.integers(0, 255, image.shape)

    first, second = steady(speckle)([], frames, 1, rng)
    assert (first == second).all()
    first, second = each(speckle)([], frames, 1, rng)
    assert (first != second).any()
