from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sam_ad_perception.core.health.camera_thresholds import CameraHealthConfig
from sam_ad_perception.core.health.config import UNCHECKED, HealthConfig
from sam_ad_perception.core.health.judgement import Severity
from sam_ad_perception.core.health.monitor import MAX_SENSORS, HealthMonitor
from sam_ad_perception.core.sensors import (
    CameraModel,
    Events,
    Modality,
    PointCloud,
    SensorBundle,
    SensorFrame,
)

CAMERA, THERMAL, EVENT, LIDAR, DEPTH = Modality
PERIOD_NS = 100_000_000
VIEW = CameraModel(320, 200, np.array([[250.0, 0, 160], [0, 250, 100], [0, 0, 1]]), frame_id='cam')


def street(rng, shift=0, gain=1.0, noise=2.0):
    """A picture with boxes on a shaded ground, as a lens draws them, and sensor noise."""
    v, u = np.mgrid[:200, :320]
    plain = (
        60 + 0.5 * v + 40.0 * (((u + shift) // 23 + v // 17) % 2) + 30.0 * ((u + shift) % 61 < 9)
    )
    plain = cv2.GaussianBlur(plain, (0, 0), 0.6)
    image = gain * plain[..., None] + noise * rng.standard_normal((200, 320, 3))
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def warmth(rng, shift=0, noise=8.0):
    v, u = np.mgrid[:128, :160]
    plain = 29000 + 4.0 * v + 400.0 * (((u + shift) // 23 + v // 17) % 2)
    image = cv2.GaussianBlur(plain, (0, 0), 0.7) + noise * rng.standard_normal(plain.shape)
    return np.rint(image).astype(np.uint16)


def sweep(rng, count=20_000, reach=40.0):
    return PointCloud(
        rng.uniform((-reach, -reach, -2), (reach, reach, 4), (count, 3)).astype('f4')
    )


def event_window(rng, stamp_ns, count, size=(100, 160)):
    return Events(
        rng.integers(0, size[1], count).astype(np.uint16),
        rng.integers(0, size[0], count).astype(np.uint16),
        rng.random(count) < 0.5,
        np.sort(rng.integers(stamp_ns - 30_000_000 + 1, stamp_ns + 1, count)),
        size,
    )


def bundle_of(stamp_ns, *frames, view=VIEW):
    each = {m: SensorFrame(m, stamp_ns, f'{m}_frame', data, None) for m, data in frames}
    return SensorBundle(stamp_ns, CAMERA, view, each)


class Stream:
    """Feeds a monitor one frame after the other."""

    def __init__(self, modality, config=None, start_ns=1_000_000_000_000):
        self.monitor = HealthMonitor(config)
        self.modality = modality
        self.stamp_ns = start_ns

    def feed(self, data, *others):
        self.stamp_ns += PERIOD_NS
        bundle = bundle_of(self.stamp_ns, (self.modality, data), *others)
        self.checked = self.monitor.check(bundle)
        return [str(f.kind) for f in self.checked.findings.get(self.modality, ())]


# One kind of fault after the other


def black(image, rng):
    return np.clip(rng.normal(3, 1, image.shape), 0, 255).astype(np.uint8)


def blur(image, rng):
    return cv2.GaussianBlur(image, (0, 0), 3)


def smear(image, rng):
    return cv2.blur(image, (13, 1))


def veil(image, rng):
    return (128 + 0.15 * (image.astype(float) - 128)).astype(np.uint8)


def overexpose(image, rng):
    return np.clip(image.astype(float) * 2.5, 0, 255).astype(np.uint8)


def grain(image, rng):
    return np.clip(image + rng.normal(0, 35, image.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(('level', 'kind'), [(12, 'black'), (13, 'low_contrast')])
def test_black_is_at_most_the_level(level, kind):
    """The default of `black_level` is 12: a picture of 12 is black, one of 13 only flat."""
    image = np.full((200, 320, 3), level, np.uint8)
    assert Stream(CAMERA).feed(image) == [kind]


def test_a_camera_that_starts_half_white_is_told_without_anything_usual(rng):
    image = street(rng)
    image[: round(0.6 * len(image))] = 255
    stream = Stream(CAMERA)
    assert stream.feed(image) == ['saturated']
    assert CAMERA in stream.checked.bundle.frames


@pytest.mark.parametrize(('share', 'used'), [(0.6, True), (0.9, True), (0.97, False)])
def test_a_camera_is_used_while_some_of_its_picture_is_not_white(rng, share, used):
    stream = Stream(CAMERA)
    for i in range(8):
        assert stream.feed(street(rng, shift=3 * i)) == []
    image = street(rng, shift=27)
    image[: round(share * len(image))] = 255
    assert stream.feed(image) == ['saturated']
    assert (CAMERA in stream.checked.bundle.frames) == used


@pytest.mark.parametrize(
    ('spoil', 'kind', 'used'),
    [
        (black, 'black', False),
        (lambda image, rng: np.full_like(image, 255), 'saturated', False),
        (overexpose, 'saturated', None),
        (blur, 'blurred', True),
        (smear, 'blurred', True),
        (veil, 'low_contrast', True),
        (grain, 'noisy', True),
    ],
)
def test_a_spoilt_camera_frame_is_told_at_once(rng, spoil, kind, used):
    stream = Stream(CAMERA)
    for i in range(8):
        assert stream.feed(street(rng, shift=3 * i)) == []
        assert stream.checked.bundle.frames.keys() == {CAMERA}
    assert stream.feed(spoil(street(rng, shift=27), rng)) == [kind]
    finding = stream.checked.findings[CAMERA][0]
    assert used is None or (CAMERA in stream.checked.bundle.frames) == used
    if finding.severity is Severity.UNUSABLE:
        assert finding.reason in stream.checked.bundle.missing[CAMERA]
        assert stream.checked.bundle.notes == {}
    else:
        assert stream.checked.bundle.notes == {CAMERA: finding.reason}
        assert stream.checked.bundle.missing == {}


@pytest.mark.parametrize('gain', [0.15, 0.5, 1.3])
def test_night_and_fog_that_stay_are_no_fault(rng, gain):
    stream = Stream(CAMERA)
    for i in range(20):
        clear = street(rng, shift=3 * i, gain=gain, noise=1.5)
        fog = np.uint8(20) + (clear // 3 if gain > 1 else clear)
        assert stream.feed(fog) == []


def test_dusk_that_falls_slowly_is_no_fault(rng):
    stream = Stream(CAMERA)
    for i in range(200):
        assert stream.feed(street(rng, shift=i, gain=0.99**i, noise=1.0)) == []


def test_a_picture_blurred_from_the_start_is_told(rng):
    assert Stream(CAMERA).feed(blur(street(rng), rng)) == ['blurred']


def test_frozen_is_the_same_content_under_a_new_stamp(rng):
    stream = Stream(CAMERA)
    image = street(rng)
    assert stream.feed(image) == []
    assert stream.feed(image.copy()) == ['repeated']
    assert CAMERA in stream.checked.bundle.frames
    assert stream.feed(image.copy()) == ['frozen']
    assert 'under 3 different stamps' in stream.checked.bundle.missing[CAMERA]
    # A standing vehicle sees the same street, but never the same noise.
    still = Stream(CAMERA)
    assert [still.feed(street(rng)) for _ in range(10)] == [[]] * 10


def test_a_driver_that_sends_each_frame_twice_is_used_and_told(rng):
    monitor = HealthMonitor()
    stamp_ns = 0
    for number in range(20):  # 15 Hz sent as 30
        image = street(rng, shift=3 * number)
        for again in (False, True):
            stamp_ns += 33_333_333
            checked = monitor.check(bundle_of(stamp_ns, (CAMERA, image.copy())))
            kinds = [f.kind for f in checked.findings.get(CAMERA, ())]
            assert kinds == (['repeated'] if again else [])
            assert CAMERA in checked.bundle.frames


def test_the_same_frame_in_two_bundles_is_not_frozen(rng):
    monitor = HealthMonitor()
    cloud = SensorFrame(LIDAR, 5, 'lidar', sweep(rng))
    for stamp_ns in range(10, 60, 10):  # a camera at five times the rate of the lidar
        bundle = SensorBundle(stamp_ns, CAMERA, VIEW, {LIDAR: cloud})
        assert monitor.check(bundle).findings == {}
    assert monitor.summary()[LIDAR].frames == 1
    assert monitor.summary('another view') == {}


def test_frozen_can_be_made_patient_and_be_switched_off(rng):
    image = street(rng)
    patient = Stream(CAMERA, HealthConfig(frozen_repeats=2))
    assert [patient.feed(image) for _ in range(4)] == [[], ['repeated'], ['frozen'], ['frozen']]
    never = Stream(CAMERA, HealthConfig(frozen_repeats=0))
    assert [never.feed(image) for _ in range(4)] == [[]] * 4


@pytest.mark.parametrize('form', ['uint16', 'float32', 'uint8'])
def test_a_closed_thermal_shutter_is_told(rng, form):
    def deliver(image):
        if form == 'uint16':
            return image
        if form == 'float32':
            return (image / 100).astype(np.float32)  # kelvin
        low, high = np.percentile(image, (1, 99))  # automatic gain
        return np.clip(255 * (image - low) / (high - low), 0, 255).astype(np.uint8)

    stream = Stream(THERMAL)
    for i in range(6):
        assert stream.feed(deliver(warmth(rng, shift=2 * i))) == []
    shut = np.rint(29300 + 8 * rng.standard_normal((128, 160))).astype(np.uint16)
    assert stream.feed(deliver(shut)) == ['shutter']
    assert THERMAL not in stream.checked.bundle.frames
    dead = np.full((128, 160), 128, form)
    assert stream.feed(dead) == ['shutter']
    assert Stream(THERMAL).feed(dead) == ['shutter']


def test_a_thermal_picture_that_loses_contrast_is_used(rng):
    stream = Stream(THERMAL)
    for i in range(6):
        assert stream.feed(warmth(rng, shift=2 * i)) == []
    mean = warmth(rng).mean()
    for share in (0.25, 0.12, 0.04):  # a tunnel hides the cold sky; the integration time is short
        flat = mean + share * (warmth(rng) - mean)
        assert stream.feed(np.rint(flat).astype(np.uint16)) == ['low_contrast']
        assert THERMAL in stream.checked.bundle.frames


@pytest.mark.parametrize(('share', 'used'), [(0.2, True), (0.4, True), (0.7, False)])
def test_a_thermal_picture_that_clips_is_used_until_half_of_it_does(rng, share, used):
    stream = Stream(THERMAL)
    for i in range(4):
        assert stream.feed(warmth(rng, shift=2 * i)) == []
    image = warmth(rng, shift=8)
    hot = np.minimum(image, np.quantile(image, 1 - share).astype(np.uint16))
    assert stream.feed(hot) == ([] if share < 0.3 else ['saturated'])
    assert (THERMAL in stream.checked.bundle.frames) == used


@pytest.mark.parametrize(
    ('share', 'kind', 'used'),
    [(0.0, 'empty', False), (0.05, 'sparse', False), (0.3, 'sparse', True)],
)
def test_a_cloud_that_thins_out_is_told(rng, share, kind, used):
    stream = Stream(LIDAR)
    for count in (20_000, 18_000, 15_000, 21_000):
        assert stream.feed(sweep(rng, count)) == []
    # where hardly any point is left, rings are empty, too
    assert stream.feed(sweep(rng, int(share * 20_000)))[0] == kind
    assert (LIDAR in stream.checked.bundle.frames) == used


def test_a_cloud_of_nan_or_of_the_lidars_own_cover_is_told(rng):
    gone = PointCloud(np.full((500, 3), np.nan, np.float32))
    assert Stream(LIDAR).feed(gone) == ['not_finite']
    covered = PointCloud((sweep(rng).points / 80).astype(np.float32))
    assert Stream(LIDAR).feed(covered) == ['short_range']


def test_a_repeated_packet_of_events_is_frozen(rng):
    stream = Stream(EVENT)
    events = event_window(rng, stream.stamp_ns + PERIOD_NS, 5000)
    assert stream.feed(events) == []
    again = replace(events, t_ns=events.t_ns + PERIOD_NS)
    assert stream.feed(again) == ['repeated']
    again = replace(again, t_ns=again.t_ns + PERIOD_NS)
    assert stream.feed(again) == ['frozen']
    few = event_window(rng, stream.stamp_ns + PERIOD_NS, 5)
    assert stream.feed(few) == ['recovering']
    assert stream.feed(replace(few, t_ns=few.t_ns + PERIOD_NS)) == []


def feed_events(stream, rng, count, camera):
    events = event_window(rng, stream.stamp_ns + PERIOD_NS, count)
    return stream.feed(events, *([] if camera is None else [(CAMERA, camera)]))


def test_a_flood_of_events_is_told_and_a_start_from_standing_is_not(rng):
    stream = Stream(EVENT)
    for count in (100, 90, 4000, 9000, 15_000):  # 16,000 pixels
        assert feed_events(stream, rng, count, None) == []
    assert feed_events(stream, rng, 60_000, None) == ['burst']


@pytest.mark.parametrize(
    ('count', 'moving', 'kinds'),
    [(0, True, ['silent']), (50, True, ['silent']), (0, False, ['silent']), (50, False, []),
     (0, None, ['silent']), (50, None, ['rate_collapse'])],
)  # fmt: skip
def test_events_are_silent_when_there_are_none_or_few_while_the_camera_sees_motion(
    rng, count, moving, kinds
):
    stream = Stream(EVENT)
    for i in range(6):
        picture = None if moving is None else street(rng, shift=4 * i)
        assert feed_events(stream, rng, 8000, picture) == []
    for i in range(2):  # the first still picture follows a moving one
        picture = None if moving is None else street(rng, shift=(30 + 4 * i) if moving else 20)
        found = feed_events(stream, rng, count if i else 8000, picture)
    assert found == kinds


def test_a_depth_image_without_values_is_empty(rng):
    stream = Stream(DEPTH)
    depth = rng.uniform(2, 40, (60, 80)).astype(np.float32)
    depth[rng.random(depth.shape) < 0.2] = np.nan
    assert stream.feed(depth) == []
    assert stream.feed(depth) == ['repeated']
    thin = np.where(rng.random(depth.shape) < 0.1, depth, np.nan).astype(np.float32)
    assert 'sparse' in stream.feed(thin)
    assert 'empty' in stream.feed(np.full_like(depth, np.nan))


# State


def test_recovery_takes_good_frames_and_flapping_does_not_show(rng):
    stream = Stream(CAMERA, HealthConfig(recovery_frames=3))
    used = []
    for i, good in enumerate((1, 1, 0, 1, 1, 0, 1, 1, 1, 1)):
        image = street(rng, shift=3 * i) if good else np.zeros((200, 320, 3), np.uint8)
        stream.feed(image)
        used.append(CAMERA in stream.checked.bundle.frames)
    assert used == [True, True] + [False] * 6 + [True, True]
    counts = stream.monitor.summary()[CAMERA]
    assert counts.counts == {'black': 2, 'recovering': 4}
    assert (counts.frames, counts.unusable) == (10, 6)
    assert counts.last_reason == 'recovering: 2 of 3 good frames'


def test_with_recovery_of_one_the_first_good_frame_is_used(rng):
    stream = Stream(CAMERA, HealthConfig(recovery_frames=1))
    for i, good in enumerate((1, 0, 1)):
        found = stream.feed(street(rng, shift=i) if good else np.zeros((200, 320, 3), np.uint8))
        assert found == ([] if good else ['black'])


@pytest.mark.parametrize('shift_ns', [-3_600_000_000_000, 3_600_000_000_000, -PERIOD_NS])
def test_another_time_starts_anew(rng, shift_ns):
    stream = Stream(LIDAR)
    cloud = sweep(rng, 20_000)
    assert [stream.feed(sweep(rng, 20_000)) for _ in range(3)] == [[]] * 3
    stream.feed(cloud)
    stream.stamp_ns += shift_ns - (PERIOD_NS if shift_ns == -PERIOD_NS else 0)
    assert stream.feed(cloud) == []  # neither frozen nor held against the counts of before
    assert stream.feed(sweep(rng, 12_000)) == []


def test_what_lasts_becomes_the_new_normal(rng):
    stream = Stream(LIDAR, HealthConfig(accept_s=2.0))
    for _ in range(5):
        stream.feed(sweep(rng, 20_000))
    found = [stream.feed(sweep(rng, 5_000)) for _ in range(100)]
    assert found[0] == ['sparse']
    assert found[-1] == []


def test_views_do_not_mix(rng):
    monitor = HealthMonitor()
    other = CameraModel(320, 200, VIEW.K, frame_id='rear')
    image = street(rng)
    assert monitor.check(bundle_of(100, (CAMERA, image))).findings == {}
    assert monitor.check(bundle_of(200, (CAMERA, image), view=other)).findings == {}
    assert CAMERA in monitor.check(bundle_of(300, (CAMERA, image))).findings
    told = {view: monitor.summary(view)[CAMERA] for view in ('cam', 'rear')}
    assert [(each.frames, each.unhealthy) for each in told.values()] == [(2, 1), (1, 0)]
    together = monitor.summary()[CAMERA]
    assert (together.frames, together.counts) == (3, {'repeated': 1})
    assert together.last_reason == told['cam'].last_reason


def test_memory_is_bounded(rng):
    monitor = HealthMonitor()
    image = street(rng)[:20, :20]
    for i in range(3 * MAX_SENSORS):
        view = CameraModel(20, 20, VIEW.K, frame_id=f'camera_{i}')
        monitor.check(bundle_of(i, (CAMERA, image), view=view))
    assert len(monitor._sensors) == MAX_SENSORS
    assert monitor.summary()[CAMERA].frames == MAX_SENSORS


def test_a_sensor_that_is_not_checked_is_left_alone(rng):
    dark = np.zeros((200, 320, 3), np.uint8)
    config = HealthConfig(sensors={'camera': CameraHealthConfig(enabled=False)})
    assert Stream(CAMERA, config).feed(dark) == []
    assert HealthMonitor(UNCHECKED).check(bundle_of(1, (CAMERA, dark))).findings == {}


@pytest.mark.parametrize(
    'data',
    [
        np.zeros((0, 0, 3), np.uint8),
        np.zeros((4, 4, 7), np.uint8),
        np.zeros((4, 4), np.float64),
        PointCloud(np.zeros((3, 2), np.float32)),
    ],
)
def test_a_malformed_frame_is_left_to_whoever_renders_it(data):
    modality = LIDAR if isinstance(data, PointCloud) else CAMERA
    stream = Stream(modality)
    assert stream.feed(data) == []
    assert modality in stream.checked.bundle.frames


IMAGES = hnp.arrays(
    st.sampled_from([np.uint8, np.uint16]),
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24),
)


@given(images=st.lists(IMAGES, min_size=1, max_size=6))
def test_any_image_is_judged_and_equal_streams_equally(images):
    runs = []
    for _ in range(2):
        stream = Stream(THERMAL)
        run = []
        for image in images:
            stream.feed(image)
            checked = stream.checked
            assert (THERMAL in checked.bundle.frames) != (THERMAL in checked.bundle.missing)
            run.append(checked.findings)
        runs.append(run)
    assert runs[0] == runs[1]


def test_a_driver_that_goes_over_to_eight_bits_is_no_closed_shutter(rng):
    stream = Stream(THERMAL)
    for shift in range(12):
        assert stream.feed(warmth(rng, shift, noise=300.0)) == []
    for shift in range(12):
        counts = warmth(rng, shift, noise=300.0)
        assert stream.feed((counts // 128).astype(np.uint8)) == []
