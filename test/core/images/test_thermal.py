from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_ad_perception.core.images.thermal import (
    CELSIUS_ZERO,
    FixedRange,
    PlanckConstants,
    RunningRange,
    ThermalRanges,
    apply_fixed_range,
    apply_range,
    is_gain_controlled,
    measure_range,
    to_kelvin,
)
from sam_ad_perception.core.messages.image_encodings import to_thermal
from sam_ad_perception.core.sensors import Modality

SECOND = 1_000_000_000


def flir_records(data):
    """The records of a FLIR file in the APP1 segments of a JPEG: type to bytes."""
    at, parts = 2, {}
    while data[at] == 0xFF and data[at + 1] != 0xDA:
        size = struct.unpack('>H', data[at + 2 : at + 4])[0]
        body = data[at + 4 : at + 2 + size]
        if data[at + 1] == 0xE1 and body[:5] == b'FLIR\0':
            parts[body[6]] = body[8:]
        at += 2 + size
    flir = b''.join(parts[i] for i in sorted(parts))
    order = '>' if struct.unpack('>I', flir[28:32])[0] < 1000 else '<'
    first, count = struct.unpack(f'{order}II', flir[24:32])
    records = {}
    for entry in range(first, first + 32 * count, 32):
        kind = struct.unpack(f'{order}H', flir[entry : entry + 2])[0]
        start, size = struct.unpack(f'{order}II', flir[entry + 12 : entry + 20])
        records[kind] = flir[start : start + size]
    return records


def read_flir(path):
    """Raw counts, Planck constants and the camera's own range in kelvin."""
    records = flir_records(path.read_bytes())
    raw, info = records[1], records[0x20]
    width, height = struct.unpack('<HH', raw[2:6])
    if raw[32:36] == b'\x89PNG':
        counts = cv2.imdecode(np.frombuffer(raw[32:], np.uint8), cv2.IMREAD_UNCHANGED)
        counts = counts.byteswap()  # little-endian samples in a big-endian format
    else:
        counts = np.frombuffer(raw[32:], '<u2', width * height).reshape(height, width)
    r1, b, f = struct.unpack('<fff', info[0x58:0x64])
    o, r2 = struct.unpack('<if', info[0x308:0x310])
    _, _, highest, lowest = struct.unpack('<ffff', info[0x90:0xA0])
    return counts, PlanckConstants(r1, b, f, o, r2), (lowest, highest)


@pytest.fixture(scope='module')
def street():
    """A thermal image of the simulated street, counts of 10 mK."""
    from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig

    drive = Drive(DriveConfig(seed=3, duration_s=2.0))
    return drive.measure(Modality.THERMAL, drive.frame_stamps(Modality.THERMAL)[5]).data


@pytest.fixture(scope='module')
def approach(street):
    """The street, standing still, while something of 380 degrees comes in from the left.

    60 frames of (H, W) uint16, and the pixels that it never covers.
    """
    rng = np.random.default_rng(0)
    height, width = street.shape
    v, u = np.mgrid[:height, :width]
    frames, covered = [], np.zeros(street.shape, bool)
    for k in range(60):
        centre = -40 + 3.0 * max(0, k - 10)
        hot = np.hypot(u - centre, v - 150) < 36  # 5 % of the image
        covered |= hot
        image = np.where(hot, 65300, street) + rng.normal(0, 8, street.shape)
        frames.append(np.clip(np.rint(image), 0, 65535).astype(np.uint16))
    return frames, ~covered


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
    ends=st.tuples(st.floats(0, 100), st.floats(0, 100)),
    step=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_percentiles_are_those_of_numpy(size, dtype, ends, step, seed):
    top = 256 if dtype is np.uint8 else 65536
    image = np.random.default_rng(seed).integers(0, top, size).astype(dtype)
    got = measure_range(image, *ends, step)
    np.testing.assert_allclose(got, np.percentile(image[::step, ::step], ends), rtol=1e-6)


def test_not_a_number_is_left_out_and_becomes_zero():
    image = np.array([[1, np.nan], [3, np.inf]], np.float32)
    assert measure_range(image, 0, 100, 1) == (1, 3)
    np.testing.assert_array_equal(apply_range(image, 1, 3), [[0, 0], [1, 1]])
    with pytest.raises(ValueError, match='no finite pixel'):
        measure_range(np.full((4, 4), np.nan, np.float32), 0, 100)


@pytest.mark.parametrize(
    ('fixed', 'counts_of'),
    [
        (FixedRange(260, 320), lambda kelvin: kelvin / 0.01),
        (FixedRange(-13.15, 46.85, 'celsius', 0.04), lambda kelvin: kelvin / 0.04),
        (FixedRange(260, 320, 'kelvin', 0.1, 173.15), lambda kelvin: (kelvin - 173.15) * 10),
    ],
)
def test_linear_counts_become_temperature_over_the_range(fixed, counts_of):
    kelvin = np.linspace(250, 330, 81).reshape(9, 9)
    counts = np.rint(counts_of(kelvin)).astype(np.uint16)
    got = apply_fixed_range(counts, fixed)
    assert got.dtype == np.float32
    step = fixed.kelvin_per_count
    np.testing.assert_allclose(got, np.clip((kelvin - 260) / 60, 0, 1), atol=step / 60 + 1e-6)
    np.testing.assert_allclose(to_kelvin(counts, fixed), kelvin, atol=step)


def test_float_images_hold_temperatures():
    celsius = np.array([[-20, 0, 20, 50]], np.float32)
    expected = [[0, 1 / 3, 2 / 3, 1]]
    got = apply_fixed_range(celsius, FixedRange(-20, 40, 'celsius'))
    np.testing.assert_allclose(got, expected, atol=1e-6)
    kelvin = celsius + np.float32(CELSIUS_ZERO)
    fixed = FixedRange(-20, 40, 'celsius', float_unit='kelvin')
    np.testing.assert_allclose(apply_fixed_range(kelvin, fixed), expected, atol=1e-5)
    raw = np.array([[1000, 3000]], np.float32)
    np.testing.assert_allclose(
        apply_fixed_range(raw, FixedRange(0, 4000, 'counts')), [[0.25, 0.75]]
    )


@pytest.mark.parametrize('name', ['ax8.jpg', 'flir_example.jpg', 'zenmuse_xtr.jpg'])
def test_counts_of_real_cameras_become_temperatures_they_can_measure(sample_data, name):
    counts, planck, (lowest, highest) = read_flir(sample_data / 'thermal_radiometric' / name)
    fixed = FixedRange(lowest, highest, planck=planck)
    kelvin = to_kelvin(counts, fixed)
    assert lowest < kelvin.min() < kelvin.max() < highest
    # the law the other way round: radiance of a black surface of that temperature, as counts
    back = planck.r1 / (planck.r2 * (np.exp(planck.b / kelvin) - planck.f)) - planck.o
    np.testing.assert_allclose(back, counts, rtol=1e-9)
    image = apply_fixed_range(counts, fixed)
    np.testing.assert_allclose(image, (kelvin - lowest) / (highest - lowest), atol=1e-6)
    assert not is_gain_controlled(counts)


def test_pictures_of_eight_bits_are_known_by_their_values(sample_data):
    for path in [*(sample_data / 'rgbt').glob('*/ir/*')][:22]:
        image = to_thermal(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), 'mono8')
        assert is_gain_controlled(image)
        assert is_gain_controlled(image.astype(np.uint16))  # as `mono16`, by a careless driver
        assert not is_gain_controlled(image.astype(np.uint16) << 8)


def steps_of(frames, still, range_of):
    """Largest step of the mean brightness between frames: of what stands still, and of all."""
    images = [apply_range(frame, *range_of(k, frame)) for k, frame in enumerate(frames)]
    parts = np.array([[image[still].mean(), image.mean()] for image in images])
    return np.abs(np.diff(parts, axis=0)).max(axis=0), images


@pytest.mark.parametrize('rate_hz', [9, 30])
def test_a_hot_object_does_not_make_the_running_range_flicker(approach, rate_hz):
    frames, still = approach
    ranges, running = ThermalRanges(), RunningRange()
    own, _ = steps_of(frames, still, lambda k, frame: measure_range(frame, 1, 99))
    assert own[0] > 0.2  # the range of each frame: the street goes dark from one to the next
    followed, images = steps_of(
        frames,
        still,
        lambda k, frame: ranges.follow('thermal', k * SECOND // rate_hz, frame, running),
    )
    assert followed.max() < 0.02
    assert images[-1][still].std() > 0.05  # and the street is still to be seen


def test_the_running_range_arrives_at_the_percentiles_of_a_new_scene(street):
    ranges, running = ThermalRanges(), RunningRange()
    warmer = (street + 600).astype(np.uint16)  # 6 K
    ranges.follow('thermal', 0, street, running)
    for k in range(1, 300):
        got = ranges.follow('thermal', k * SECOND // 30, warmer, running)
    low, high = measure_range(warmer, 1, 99)
    np.testing.assert_allclose(got, (low, high), atol=0.02 * (high - low))


def test_the_time_constant_is_in_seconds_not_in_frames(street):
    running = RunningRange(time_constant_s=1.0, max_step=0.4)
    low, high = measure_range(street, 1, 99)
    span = high - low
    warmer = (street + round(0.2 * span)).astype(np.uint16)
    for rate_hz in (5, 50):
        ranges = ThermalRanges()
        ranges.follow('thermal', 0, street, running)
        for k in range(1, rate_hz + 1):
            got = ranges.follow('thermal', k * SECOND // rate_hz, warmer, running)
        moved = (np.array(got) - (low, high)) / (0.2 * span)
        np.testing.assert_allclose(moved, 1 - np.exp(-1), atol=0.01)


def test_streams_do_not_mix_and_the_same_frames_give_the_same_ranges(approach):
    frames, _ = approach
    running = RunningRange()

    def run(ranges, name, offset=0):
        stamps = [offset + k * SECOND // 10 for k in range(30)]
        return [ranges.follow(name, t, f, running) for t, f in zip(stamps, frames, strict=False)]

    alone = run(ThermalRanges(), 'left')
    both, shared = [], ThermalRanges()
    for k in range(30):
        both.append(shared.follow('left', k * SECOND // 10, frames[k], running))
        shared.follow('right', k * SECOND // 10, frames[k] // 2, running)
    assert both == alone
    assert run(shared, 'left', offset=100 * SECOND) == alone  # after a pause: anew
    assert run(shared, 'left') == alone  # the clock is set back: anew


def test_two_ways_to_follow_one_stream_do_not_mix(street):
    ranges = ThermalRanges()
    for ends in ((1, 99), (10, 90)):
        got = ranges.follow('t', 0, street, RunningRange(*ends))
        assert got == measure_range(street, *ends)


def test_a_frame_seen_before_or_late_changes_nothing(approach):
    frames, _ = approach
    ranges, running = ThermalRanges(), RunningRange()
    ranges.follow('t', 0, frames[0], running)
    held = ranges.follow('t', SECOND, frames[40], running)
    assert ranges.follow('t', SECOND, frames[0], running) == held
    assert ranges.follow('t', SECOND // 2, frames[50], running) == held


def test_a_change_of_the_cameras_gain_takes_the_new_range_at_once(street):
    ranges, running = ThermalRanges(), RunningRange()
    ranges.follow('t', 0, street, running)
    low_gain = street // 10
    assert ranges.follow('t', SECOND // 10, low_gain, running) == measure_range(low_gain, 1, 99)


def test_a_shutter_frame_is_refused_and_the_range_stays(street):
    ranges, running = ThermalRanges(), RunningRange()
    before = ranges.follow('t', 0, street, running)
    with pytest.raises(ValueError, match='uniform at 29000'):
        ranges.follow('t', SECOND // 10, np.full_like(street, 29000), running)
    after = ranges.follow('t', SECOND // 5, street, running)
    assert after == before


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: FixedRange(3, 3), 'low must be below high, got 3 and 3'),
        (lambda: FixedRange(0, 1, 'fahrenheit'), "unit must be one of .* got 'fahrenheit'"),
        (lambda: FixedRange(0, 1, float_unit='counts'), 'float_unit must be one of'),
        (lambda: FixedRange(0, 1, kelvin_per_count=0), 'kelvin_per_count must be positive'),
        (lambda: PlanckConstants(1, -2, 1, 0, 1), 'b must be positive and finite, got -2'),
        (lambda: PlanckConstants(1, 2, 1, np.nan, 1), 'o must be finite'),
        (lambda: RunningRange(5, 5), 'must be percentiles'),
        (lambda: RunningRange(time_constant_s=0), 'time_constant_s must be positive'),
        (lambda: RunningRange(max_step=0.5), 'max_step must be below 0.5, got 0.5'),
        (lambda: apply_range(np.zeros((2, 2), np.uint8), 4, 4), 'low must be below high'),
        (lambda: apply_range(np.zeros((2, 2)), 0, 1), r'got \(2, 2\) float64'),
        (lambda: apply_range(np.zeros((2, 2, 3), np.uint8), 0, 1), r'got \(2, 2, 3\) uint8'),
        (lambda: measure_range(np.zeros((0, 4), np.uint8), 1, 99), 'zero size'),
    ],
)
def test_wrong_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
