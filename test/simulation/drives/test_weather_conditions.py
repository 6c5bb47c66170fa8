"""Conditions against the formulas that they stand on, and against each other."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import Modality, SensorBundle
from sam_ad_perception.simulation.drives.configuration import DriveConfig
from sam_ad_perception.simulation.drives.drive import Drive, GroundTruth
from sam_ad_perception.simulation.sensors.lidar_weather import echo_strength
from sam_ad_perception.simulation.sensors.rig import RigSensor
from sam_ad_perception.simulation.weather.conditions import (
    CONDITIONS,
    DAY,
    blend,
    condition_at,
    find_condition,
    fog_extinction,
    rain_extinction,
    snow_extinction,
)

SIZES = {'size': (200, 320), 'thermal_size': (128, 160), 'event_size': (100, 160)}
STAMP_NS = 1_700_000_000_600_000_000
Seen = tuple[SensorBundle, GroundTruth]


def look(condition: str) -> Seen:
    return Drive(DriveConfig(seed=5, duration_s=2.0, condition=condition, **SIZES)).bundle(
        STAMP_NS
    )


@pytest.fixture(scope='module')
def seen() -> dict[str, Seen]:
    return {name: look(name) for name in (*CONDITIONS, 'night+rain')}


def camera(seen: Seen) -> NDArray[np.float64]:
    return seen[0].frames[Modality.CAMERA].data.astype(float)


def test_truth_does_not_depend_on_the_condition(seen: dict[str, Seen]) -> None:
    for _, truth in seen.values():
        assert np.array_equal(truth.labels, seen['day'][1].labels)
        assert np.array_equal(truth.depth, seen['day'][1].depth, equal_nan=True)
        assert not truth.faults


def test_same_condition_same_bytes(seen: dict[str, Seen]) -> None:
    again, first = look('night+rain')[0].frames, seen['night+rain'][0].frames
    for m in (Modality.CAMERA, Modality.THERMAL):
        assert np.array_equal(again[m].data, first[m].data)
    assert np.array_equal(again[Modality.LIDAR].data.points, first[Modality.LIDAR].data.points)
    assert np.array_equal(again[Modality.EVENT].data.t_ns, first[Modality.EVENT].data.t_ns)


def test_fog_follows_koschmieder_by_distance(seen: dict[str, Seen]) -> None:
    """Contrast falls as exp(-b d), compared between near and far surfaces of one class."""
    assert fog_extinction(100.0) == pytest.approx(3.912 / 100.0, rel=1e-4)
    extinction = find_condition('fog').visible_extinction
    depth = seen['day'][1].depth
    for low, high in ((8, 12), (25, 35)):
        at = (depth > low) & (depth < high)
        clear, foggy = ((camera(seen[n])[at] / 255) ** 2.2 for n in ('day', 'fog'))
        ratio = np.std(foggy) / np.std(clear)
        # Direct sunlight is gone, too, so clear contrast is larger: an upper bound.
        assert ratio < 1.2 * np.exp(-extinction * low)
    sky = camera(seen['fog'])[seen['day'][1].labels == 10]
    assert sky.std() < 6


def test_extinctions_of_rain_and_snow_are_those_of_the_recommendation() -> None:
    """ITU-R P.1814 in dB/km: 10 log10(e) b 1000."""
    to_db_km = 10 * np.log10(np.e) * 1000
    assert rain_extinction(25.0) * to_db_km == pytest.approx(1.076 * 25**0.67)
    assert snow_extinction(3.0) * to_db_km == pytest.approx(5.55 * 3**1.38)
    assert rain_extinction(0.0) == snow_extinction(0.0) == 0.0


def test_night_is_dark_but_lamps_saturate(seen: dict[str, Seen]) -> None:
    night, day = camera(seen['night']), camera(seen['day'])
    assert np.median(night) < 0.4 * np.median(day)
    labels = seen['day'][1].labels
    assert night[labels == 10].mean() < 40
    # Noise: neighbours differ more, measured in the dark sky.
    sky = cv2.erode((labels == 10).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert cv2.Laplacian(night[..., 1], cv2.CV_64F)[sky].std() > 2 * 2.5


def test_thermal_sees_people_at_night_and_washes_out_in_rain(seen: dict[str, Seen]) -> None:
    drive = Drive(DriveConfig(seed=5, duration_s=2.0, **SIZES))
    labels = drive.truth(STAMP_NS, Modality.THERMAL).labels
    people = cv2.erode((labels == 11).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    road = labels == 0
    assert people.sum() > 10
    contrast = {}
    for name in ('day', 'night', 'rain', 'fog'):
        heat = seen[name][0].frames[Modality.THERMAL].data.astype(float)
        contrast[name] = np.median(heat[people]) - np.median(heat[road])
    assert contrast['night'] > contrast['day'] > 0
    assert contrast['rain'] < 0.7 * contrast['day']
    assert 0.2 * contrast['day'] < contrast['fog'] < contrast['day']


def test_lidar_loses_range_and_gains_clutter(seen: dict[str, Seen]) -> None:
    ranges = {
        name: np.linalg.norm(bundle.frames[Modality.LIDAR].data.points, axis=1)
        for name, (bundle, _) in seen.items()
    }
    assert np.array_equal(ranges['day'], ranges['night'])
    far = {name: int((r > 35).sum()) for name, r in ranges.items()}
    assert far['fog'] < 0.02 * far['day']
    assert far['rain'] < far['day']
    sweeps = {
        name: Drive(DriveConfig(seed=5, duration_s=2.0, condition=name, **SIZES)).measure_sweep(
            STAMP_NS
        )
        for name in ('fog', 'rain', 'snow')
    }
    for name, sweep in sweeps.items():
        clutter = np.linalg.norm(sweep.cloud.points[sweep.label == 255], axis=1)
        assert 100 < len(clutter) < 0.45 * len(sweep.label), name
        assert np.median(clutter) < 8
        assert np.all(np.diff(sweep.cloud.time_offset_ns) >= 0)
        assert len(sweep.ring) == len(sweep.label) == len(sweep.cloud.points)


def test_echoes_obey_beer_lambert_on_both_ways() -> None:
    r = np.array([10.0, 20.0, 40.0])
    clear, foggy = (echo_strength(np.full(3, 0.5), r, b) for b in (0.0, 0.03))
    assert np.allclose(foggy / clear, np.exp(-2 * 0.03 * r))
    assert np.allclose(clear * r**2, 0.5)


def test_events_are_fewer_in_fog_and_noisier_at_night(seen: dict[str, Seen]) -> None:
    count = {n: len(b.frames[Modality.EVENT].data.t_ns) for n, (b, _) in seen.items()}
    assert count['fog'] < 0.6 * count['day']
    # In the sky of the night only noise fires, which the day has less of.
    labels = Drive(DriveConfig(seed=5, duration_s=2.0, **SIZES)).truth(STAMP_NS, 'event').labels
    sky = cv2.erode((labels == 10).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    rate = {}
    for name in ('day', 'night'):
        events = seen[name][0].frames[Modality.EVENT].data
        rate[name] = sky[events.y, events.x].sum() / sky.sum() / 0.03
    assert rate['night'] == pytest.approx(2.2, rel=0.35)
    assert rate['day'] < 0.6 * rate['night']


def test_refractory_time_separates_events_of_a_pixel() -> None:
    found = []
    for blind_us in (0, 2000):
        rig = (RigSensor('event', 'event', (100, 160), 100.0, refractory_us=blind_us),)
        drive = Drive(DriveConfig(seed=5, duration_s=1.0, rig=rig))
        start = drive.config.start_ns
        found.append(drive.events_between(start, start + 10_000_000))
    free, events = found
    assert 0.2 * len(free.t_ns) < len(events.t_ns) < len(free.t_ns)
    pixel = events.y.astype(np.int64) * 160 + events.x
    order = np.lexsort((events.t_ns, pixel))
    gap = np.diff(events.t_ns[order])[np.diff(pixel[order]) == 0]
    assert np.mean(gap < 1_999_000) < 0.05  # spurious events know no such time


def test_higher_threshold_means_fewer_events() -> None:
    count = []
    for threshold in (0.22, 0.44):
        rig = (RigSensor('event', 'event', (100, 160), 100.0, threshold=threshold),)
        drive = Drive(DriveConfig(seed=5, duration_s=1.0, rig=rig))
        count.append(len(drive.measure('event', drive.config.start_ns).data.t_ns))
    assert 0.3 * count[0] < count[1] < 0.65 * count[0]


def test_glare_hides_what_is_around_the_sun(seen: dict[str, Seen]) -> None:
    assert np.mean(camera(seen['glare']) > 250) > 2 * np.mean(camera(seen['day']) > 250)


def test_schedule_changes_in_the_wanted_time() -> None:
    schedule = ((0.0, 'day'), (2.0, 'night'), (6.0, 'rain'))
    assert condition_at(schedule, 1.99, 1.0) == DAY
    middle = condition_at(schedule, 2.5, 1.0)
    assert middle == blend(DAY, find_condition('night'), 0.5)
    assert condition_at(schedule, 3.0, 1.0) == find_condition('night')
    assert condition_at(schedule, 6.0, 0.0) == find_condition('rain')
    config = DriveConfig(seed=5, duration_s=2.0, conditions=((0.0, 'day'), (0.3, 'night')),
                         condition_ramp_s=0.2, **SIZES)  # fmt: skip
    drive, still = Drive(config), Drive(DriveConfig(seed=5, duration_s=2.0, **SIZES))
    start = config.start_ns
    before = drive.measure('camera', start + 200_000_000).data
    assert np.array_equal(before, still.measure('camera', start + 200_000_000).data)
    light = [drive.measure('camera', start + t).data.mean() for t in (300_000_000, 400_000_000,
                                                                      600_000_000)]  # fmt: skip
    assert light[0] > light[1] > light[2]


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('condition', 'hail'),
        ('condition', ''),
        ('conditions', ((0.0, 'day'), (0.0, 'night'))),
        ('conditions', ((0.0, 'day'), (1.0, 'hail'))),
        ('condition_ramp_s', -1.0),
    ],
)
def test_configuration_refuses_by_name(field: str, value: object) -> None:
    with pytest.raises(ValueError, match='condition'):
        DriveConfig(**{field: value})  # type: ignore[arg-type]
