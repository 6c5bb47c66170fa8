"""The figures of pictures, clouds and events against numpy and closed forms."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_ad_perception.core.health.measures import (
    event_density,
    measure_cloud,
    measure_image,
    quantile,
    warm_up,
)
from sam_ad_perception.core.sensors import Events, PointCloud


@pytest.mark.parametrize(
    ('shape', 'dtype'),
    [((1080, 1920, 3), np.uint8), ((512, 640), np.uint16), ((30, 40), np.uint8)],
)
def test_percentiles_are_those_of_the_whole_image(rng, shape, dtype):
    blobs = cv2.resize(rng.random((6, 8)), (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    image = np.clip(250 * blobs, 0, 255).astype(dtype)
    image = image if len(shape) == 2 else np.dstack([image * 0, image, image * 0])
    m = measure_image(image)
    plane = image if image.ndim == 2 else image[:, :, 1]
    for value, percent in ((m.low, 2), (m.middle, 50), (m.high, 98)):
        assert value == pytest.approx(np.percentile(plane, percent), abs=6)


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), share=st.floats(0.0, 1.0))
def test_quantiles_are_those_of_numpy(values, share):
    numbers = np.array(values)
    assert quantile(numbers, share) == pytest.approx(np.quantile(numbers, share), abs=1e-6)


@pytest.mark.parametrize('shape', [(40, 60), (71, 33)])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_levels_of_whole_numbers_are_those_of_numpy(rng, shape, dtype):
    """Pictures no larger than the grid are seen whole."""
    full = np.iinfo(dtype).max
    image = rng.integers(0, full, shape).astype(dtype)
    image[:3] = full
    image[3, :5] = full - full // 100
    m = measure_image(image)
    last = image.size - 1
    expected = np.sort(image, axis=None)[[round(0.02 * last), last // 2, round(0.98 * last)]]
    assert (m.low, m.middle, m.high) == tuple(expected)
    assert m.saturated == np.mean(image >= full - full // 50)
    assert m.clipped == np.mean(image == image.max())


def test_noise_of_bytes_is_that_of_the_same_values_in_more_bits(rng):
    image = np.clip(checker(1.0, 64) + rng.normal(0, 5, (384, 512)), 0, 255).astype(np.uint8)
    assert measure_image(image).noise == pytest.approx(
        measure_image(image.astype(np.uint16)).noise, rel=1e-6
    )


def checker(blur_px, square):
    v, u = np.mgrid[:384, :512]
    plain = np.where((u // square + v // square) % 2, 200.0, 50.0)
    return np.rint(cv2.GaussianBlur(plain, (0, 0), blur_px)).astype(np.uint8)


@pytest.mark.parametrize('blur_px', [0.8, 1.2, 1.6, 3.0])
def test_sharpness_of_a_blurred_step_is_that_of_the_error_function(blur_px):
    def edge(u):
        return 0.5 * (1 + math.erf(u / (blur_px * math.sqrt(2))))

    steps = whole = 0.0
    for middle in np.arange(-24, 24) + 0.5:  # the step lies between two pixels
        difference = edge(middle + 4) - edge(middle - 4)
        if difference >= 0.1:
            whole += difference**2
            steps += sum((edge(middle + k + 1) - edge(middle + k)) ** 2 for k in range(-4, 4))
    along_rows, along_columns = measure_image(checker(blur_px, 25)).sharpness
    assert along_rows == pytest.approx(steps / whole, rel=0.1)
    assert along_columns == pytest.approx(steps / whole, rel=0.1)


@pytest.mark.parametrize('sigma', [2.0, 6.0, 20.0])
def test_noise_is_measured_on_a_textured_picture(rng, sigma):
    image = checker(1.0, 64).astype(float) + sigma * rng.standard_normal((384, 512))
    m = measure_image(np.clip(image, 0, 255).astype(np.uint8))
    assert m.noise == pytest.approx(sigma, rel=0.25)


def test_cloud_figures_leave_out_what_is_no_return(rng):
    points = rng.uniform((-40, -40, -2), (40, 40, 4), (20_000, 3)).astype(np.float32)
    points[::2] = 0
    points[1::4] = np.nan
    m = measure_cloud(PointCloud(points))
    finite = points[np.isfinite(points).all(axis=1)]
    distance = np.linalg.norm(finite, axis=1)
    assert m.count == pytest.approx((distance > 0.3).sum(), rel=0.05)
    assert m.finite == pytest.approx(0.75, abs=0.02)
    assert m.reach_m == pytest.approx(np.percentile(distance[distance > 0.3], 90), rel=0.05)


def test_event_density_counts_the_window_only(rng):
    x, y = rng.integers(0, 160, 5000), rng.integers(0, 100, 5000)
    t_ns = np.sort(rng.integers(970_000_001, 1_000_000_001, 5000))
    events = Events(x.astype('u2'), y.astype('u2'), rng.random(5000) < 0.5, t_ns, (100, 160))
    inside = np.count_nonzero(events.t_ns > 990_000_000)
    assert event_density(events, 1_000_000_000, 10_000_000) == inside / 16000
    assert event_density(events, 1_030_000_000, 30_000_000) == 0


def test_an_event_exactly_at_the_end_of_the_window_counts_and_one_at_its_start_does_not():
    one = np.zeros(1, 'u2')
    for t_ns, count in ((1_000, 0), (1_001, 1), (2_000, 1), (2_001, 0)):
        events = Events(one, one, one > 0, np.array([t_ns]), (10, 10))
        assert event_density(events, 2_000, 1_000) == count / 100


def test_pictures_of_every_form_are_read_without_compiling_again():
    from sam_ad_perception.core.health import measures

    warm_up()
    known = len(measures._edge_energy.signatures)
    message = np.frombuffer(bytes(100 * 60 * 3), np.uint8)  # read-only, as a message's pixels
    for image in (message.reshape(60, 100, 3), message[:6000].reshape(60, 100)):
        measure_image(image)
        measure_image(image.copy())
    measure_image(np.zeros((60, 100), np.uint16))
    assert len(measures._edge_energy.signatures) == known
