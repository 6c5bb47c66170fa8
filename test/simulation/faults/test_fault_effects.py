"""Faults change what they name and nothing else."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import Events, Modality, PointCloud
from sam_ad_perception.simulation.faults.effects import (
    KINDS,
    TRANSPORT,
    Fault,
    corrupt,
    drop_non_finite,
    parse_fault,
)

PICTURE_KINDS = [
    k for k in KINDS if Modality.THERMAL in KINDS[k].modalities and k not in TRANSPORT
]


@pytest.fixture(params=['rgb', 'counts'])
def picture(request: pytest.FixtureRequest) -> NDArray[np.generic]:
    rng = np.random.default_rng(0)
    smooth = cv2.GaussianBlur(rng.random((60, 80, 3)).astype(np.float32), (0, 0), 3)
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    if request.param == 'rgb':
        return (20 + 200 * smooth).astype(np.uint8)
    return (29000 + 1500 * smooth[..., 0]).astype(np.uint16)


def cloud(n: int = 4000) -> PointCloud:
    rng = np.random.default_rng(1)
    points = rng.normal(0, 20, (n, 3)).astype(np.float32)
    return PointCloud(points, rng.random(n, dtype=np.float32), np.arange(n) - n)


def events(n: int = 5000) -> Events:
    rng = np.random.default_rng(2)
    t = np.sort(rng.integers(0, 10_000, n)) * 1000
    x, y = rng.integers(0, 40, n).astype(np.uint16), rng.integers(0, 30, n).astype(np.uint16)
    return Events(x, y, rng.random(n) < 0.5, t, (30, 40))


@pytest.mark.parametrize('kind', PICTURE_KINDS)
def test_pictures_keep_shape_and_type_and_repeat(picture: NDArray[np.generic], kind: str) -> None:
    before = picture.copy()
    a, b = (corrupt(picture, kind, None, np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(picture, before)
    assert np.array_equal(a, b)
    assert a.shape == picture.shape
    assert a.dtype == picture.dtype
    assert not np.array_equal(a, picture)


def test_pictures_look_as_their_fault_says(picture: NDArray[np.generic]) -> None:
    rng = np.random.default_rng(0)
    made = {k: corrupt(picture, k, None, rng) for k in PICTURE_KINDS}
    highest = np.iinfo(picture.dtype).max
    assert np.all(made['black'] == 0)
    assert np.all(made['saturated'] == highest)
    assert np.mean(made['over_exposure']) > np.mean(picture)
    assert np.mean(made['under_exposure']) < np.mean(picture)
    assert np.std(made['low_contrast']) == pytest.approx(0.12 * np.std(picture), rel=0.05)
    assert np.mean(made['low_contrast']) == pytest.approx(np.mean(picture), rel=0.01)
    noise = made['noise'].astype(float) - picture
    span = 255 if picture.dtype == np.uint8 else 4000
    assert noise[2:-2].std() == pytest.approx(0.15 * span, rel=0.15)  # 8 bits clip
    soft = corrupt(picture, 'blur', 0.03, rng)
    before, after = (cv2.Laplacian(np.float64(p), cv2.CV_64F).std() for p in (picture, soft))
    assert after < 0.7 * before


def test_motion_blur_equals_the_mean_of_shifted_pictures() -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 100), dtype=np.uint8)
    smeared = corrupt(image, 'motion_blur', 0.05, np.random.default_rng(0))
    shifts = [np.roll(image.astype(float), s, axis=1) for s in range(-2, 3)]
    expected = np.mean(shifts, axis=0)
    assert abs(smeared - expected)[:, 2:-2].max() <= 0.51


def test_under_exposure_divides_the_light() -> None:
    grey = np.full((4, 4, 3), 200, np.uint8)
    dark = corrupt(grey, 'under_exposure', 2.0, np.random.default_rng(0))
    light = [(v / 255.0) ** 2.2 for v in (200, float(np.mean(dark)))]
    assert light[1] == pytest.approx(light[0] / 4, rel=0.03)


def test_closed_shutter_is_uniform() -> None:
    counts = np.random.default_rng(0).normal(29300, 700, (50, 60)).astype(np.uint16)
    shut = corrupt(counts, 'shutter', None, np.random.default_rng(0))
    assert abs(float(np.mean(shut)) - np.median(counts)) < 5
    assert np.std(shut) < 0.03 * np.std(counts)


def test_clouds() -> None:
    rng, whole = np.random.default_rng(3), cloud()
    spoilt = corrupt(whole, 'nan_cloud', 0.5, rng)
    assert 0.45 < np.isnan(spoilt.points).all(axis=1).mean() < 0.55
    kept = drop_non_finite(spoilt)
    assert np.isfinite(kept.points).all()
    assert len(kept.points) == len(kept.intensity) == len(kept.time_offset_ns)
    assert len(corrupt(whole, 'empty_cloud', None, rng).points) == 0
    assert 60 < len(corrupt(whole, 'sparse_cloud', None, rng).points) < 180
    shaken = corrupt(whole, 'lidar_jitter', 1.0, rng).points
    moved = np.linalg.norm(shaken - whole.points, axis=1)
    assert moved.min() > 0
    assert np.all(moved <= np.deg2rad(1.8) * np.linalg.norm(whole.points, axis=1) + 0.02)
    # It is rigid: distances between points stay.
    gaps = [np.linalg.norm(p[1:] - p[:-1], axis=1) for p in (shaken, whole.points)]
    assert np.allclose(*gaps, rtol=1e-3, atol=1e-3)


def test_bursts_add_the_wanted_number_within_the_time() -> None:
    calm = events()
    flooded = corrupt(calm, 'event_burst', 100.0, np.random.default_rng(0), (0, 10_000_000))
    extra = len(flooded.t_ns) - len(calm.t_ns)
    assert extra == pytest.approx(100 * 30 * 40 * 0.01, rel=0.15)
    assert np.all(np.diff(flooded.t_ns) >= 0)
    assert flooded.t_ns.max() < 10_000_000
    assert flooded.x.max() < 40
    assert flooded.x.dtype == np.uint16
    assert len(corrupt(calm, 'event_silence', None, np.random.default_rng(0)).t_ns) == 0


def test_low_resolution_equals_brute_force() -> None:
    fine = events()
    coarse = corrupt(fine, 'event_low_resolution', 4.0, np.random.default_rng(0))
    seen: dict[tuple[int, int, bool], int] = {}
    expected = []
    for x, y, p, t in zip(fine.x, fine.y, fine.polarity, fine.t_ns, strict=True):
        cell = int(x) // 4, int(y) // 4, bool(p)
        if seen.get(cell, 0) % 4 == 0:
            expected.append((cell[0] * 4 + 2, min(cell[1] * 4 + 2, 29), cell[2], int(t)))
        seen[cell] = seen.get(cell, 0) + 1
    found = zip(coarse.x, coarse.y, coarse.polarity, coarse.t_ns, strict=True)
    assert [(int(x), int(y), bool(p), int(t)) for x, y, p, t in found] == expected


@given(
    kind=st.sampled_from(sorted(KINDS)),
    start=st.floats(0, 100),
    length=st.floats(0.001, 100),
    strength=st.none() | st.floats(0, 50),
)
def test_command_line_form_round_trips(
    kind: str, start: float, length: float, strength: float | None
) -> None:
    fault = Fault('camera', kind, start, start + length, strength)
    text = f'camera:{kind}:{fault.start_s!r}:{fault.end_s!r}'
    assert parse_fault(text if strength is None else f'{text}:{strength!r}') == fault


@given(text=st.text(max_size=30))
def test_nonsense_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match='fault'):
        parse_fault(text)


@pytest.mark.parametrize(
    ('kind', 'data'),
    [('black', cloud()), ('nan_cloud', events()), ('late', cloud()), ('melted', cloud())],
)
def test_wrong_sensor_or_kind_is_refused(kind: str, data: object) -> None:
    with pytest.raises(ValueError, match=kind):
        corrupt(data, kind, None, np.random.default_rng(0))  # type: ignore[arg-type]


def test_every_kind_is_either_transport_or_applicable() -> None:
    samples = {
        Modality.CAMERA: np.full((20, 30, 3), 90, np.uint8),
        Modality.THERMAL: np.full((20, 30), 29000, np.uint16),
        Modality.EVENT: events(100),
        Modality.LIDAR: cloud(100),
    }
    for kind, facts in KINDS.items():
        for modality in facts.modalities:
            if kind not in TRANSPORT:
                made = corrupt(samples[modality], kind, None, np.random.default_rng(0))
                assert type(made) is type(samples[modality])
