"""The health checks on simulated drives: faults are found, weather is not taken for one.

The short form of `benchmarks/sensors/health.py`, which has all conditions and prints the figures.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sam_ad_perception.core.health.monitor import HealthMonitor
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig
from sam_ad_perception.simulation.faults.effects import KINDS, corrupt
from sam_ad_perception.simulation.sensors.rig import simulated_sensors

HEALTHY, FAULTY = 5, 2
SMALL = {'size': (200, 320), 'thermal_size': (128, 160), 'event_size': (100, 160)}
JUDGED = ('frozen', 'black', 'saturated', 'over_exposure', 'under_exposure', 'motion_blur', 'blur',
          'noise', 'low_contrast', 'shutter', 'nan_cloud', 'empty_cloud', 'sparse_cloud',
          'event_burst', 'event_silence')  # fmt: skip
# More light spoils no picture of the night.
BEYOND = {('night+rain', Modality.CAMERA, 'over_exposure')}


@pytest.fixture(scope='module', params=['day', 'fog', 'night+rain'])
def drive(request):
    config = DriveConfig(
        seed=4, duration_s=0.1 * (HEALTHY + FAULTY), condition=request.param, **SMALL
    )
    simulated = Drive(config)
    stamps = simulated.frame_stamps(Modality.CAMERA)
    return request.param, [simulated.bundle(stamp)[0] for stamp in stamps]


def test_a_drive_without_faults_raises_no_alarm(drive):
    _, bundles = drive
    monitor = HealthMonitor()
    for bundle in bundles:
        checked = monitor.check(bundle)
        assert checked.findings == {}
        assert checked.bundle is bundle
    assert {m: health.frames for m, health in monitor.summary().items()} == dict.fromkeys(
        simulated_sensors(), HEALTHY + FAULTY
    )


def spoil(bundles, sensor, kind):
    """The bundles, the last ones with a fault, and whether each has it."""
    rng = np.random.default_rng(0)
    last = bundles[HEALTHY - 1].frames[sensor]
    for number, bundle in enumerate(bundles):
        frame, faulty = bundle.frames[sensor], number >= HEALTHY
        if faulty and kind == 'frozen':
            frame = replace(frame, data=last.data)
        elif faulty:
            span = (frame.stamp_ns - 30_000_000, frame.stamp_ns)
            frame = replace(frame, data=corrupt(frame.data, kind, None, rng, span))
        yield replace(bundle, frames={**bundle.frames, sensor: frame}), faulty


def test_faults_are_found_and_nothing_else_is_suspected(drive):
    condition, bundles = drive
    detected = []
    faults = {(sensor, kind) for kind in JUDGED for sensor in KINDS[kind].modalities}
    for sensor, kind in sorted(faults - {(s, k) for c, s, k in BEYOND if c == condition}):
        monitor = HealthMonitor()
        for bundle, faulty in spoil(bundles, sensor, kind):
            findings = monitor.check(bundle).findings
            assert findings.keys() <= ({sensor} if faulty else set()), (kind, findings)
            if faulty:
                detected.append(sensor in findings)
    assert len(detected) == FAULTY * (len(faults) - sum(c == condition for c, _, _ in BEYOND))
    assert np.mean(detected) >= 0.95
