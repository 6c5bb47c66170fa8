"""A camera that costs more than its absence is left out; the table is the benchmark's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.sensors.fault_costs import kept_out, kind_costs, summary
from sam_ad_perception.core.health.fault_costs import leave_out_costly
from sam_ad_perception.core.health.judgement import HealthFinding, Severity
from sam_ad_perception.core.health.measured_costs import CAMERA, FaultCost
from sam_ad_perception.core.health.monitor import CheckedBundle
from sam_ad_perception.core.sensors import CameraModel, Modality, SensorBundle, SensorFrame
from test.pictures import camera_picture

ROOT = Path(__file__).parents[3]
COSTS = {
    'frozen_part': FaultCost(5.0, 1.0, 6),
    'torn': FaultCost(8.0, 1.0, 4),
    'frozen': FaultCost(7.0, 1.0, 6),  # as a vehicle that stops looks to a slow camera
    'noisy': FaultCost(1.9, 1.0, 6),
    'rare': FaultCost(9.0, 1.0, 1),
}


@pytest.fixture
def bundle(rng):
    view = CameraModel(160, 100, np.diag([100.0, 100.0, 1.0]), frame_id='front')
    picture = camera_picture(rng, (100, 160))
    heat = rng.integers(28000, 31000, (100, 160)).astype(np.uint16)
    frames = {
        Modality.CAMERA: SensorFrame(Modality.CAMERA, 0, 'front', picture, view),
        Modality.THERMAL: SensorFrame(Modality.THERMAL, 0, 'thermal', heat, view),
    }
    return SensorBundle(0, Modality.CAMERA, view, frames)


def checked(bundle, *kinds):
    found = tuple(HealthFinding(k, f'{k}: so', Severity.DEGRADED, 1.0, 0.5) for k in kinds)
    return CheckedBundle(bundle, {Modality.CAMERA: found} if found else {})


@pytest.mark.parametrize(
    'kinds', [('frozen_part',), ('noisy', 'frozen_part'), ('frozen_part', 'torn')]
)
def test_a_costly_camera_is_left_out_with_the_reason(bundle, kinds):
    asked = []

    def runs_with(sensors):
        asked.append(sensors)
        return True

    seen = leave_out_costly(checked(bundle, *kinds), runs_with, COSTS)
    assert asked == [frozenset({'thermal'})]
    assert list(seen.bundle.frames) == [Modality.THERMAL]
    worst = kinds[-1]
    lost = COSTS[worst].lost
    reason = seen.bundle.missing[Modality.CAMERA]
    told = f'(such a camera costs {lost:.1f} points of accuracy, its absence 1.0)'
    assert reason == f'{worst}: so {told}'
    severities = [f.severity for f in seen.findings[Modality.CAMERA]]
    assert severities == [Severity.DEGRADED] * (len(kinds) - 1) + [Severity.UNUSABLE]


@pytest.mark.parametrize('kinds', [(), ('noisy',), ('rare',), ('unmeasured',), ('frozen',)])
def test_a_camera_that_is_worth_more_than_none_is_used(bundle, kinds):
    before = checked(bundle, *kinds)
    assert leave_out_costly(before, lambda sensors: True, COSTS) is before


def test_without_a_network_for_the_rest_the_camera_is_used(bundle):
    before = checked(bundle, 'frozen_part')
    assert leave_out_costly(before, lambda sensors: False, COSTS) is before


def test_the_table_is_what_was_measured_of_the_faults_that_were_looked_at():
    content = json.loads((ROOT / 'benchmarks/results/fault_costs.json').read_text())
    rows = [row for row in content['rows'] if 'severity' in row]
    assert kind_costs(rows) == CAMERA
    others = [row for row in rows if row['half'] == 'measured_only']
    assert len(others) > 80
    assert kind_costs([*rows, *({**row, 'drives, all': 99.0} for row in others)]) == CAMERA


def test_a_vehicle_with_health_is_better_off_with_found_faults():
    content = json.loads((ROOT / 'benchmarks/results/fault_costs.json').read_text())
    rows = [row for row in content['rows'] if 'severity' in row]
    for line in summary(rows, CAMERA):
        assert line['and by costs'] <= line['by findings'] <= line['lost without health']


def test_sums_are_those_of_the_rows():
    row = {'half': 'looked_at', 'found': True, 'named': True, 'without camera': 1.0}
    rows = [
        row | {'kinds': ['torn'], 'taken out': True, 'drives, all': 6.0, 'camvid, camera': 9.0},
        row
        | {
            'kinds': ['frozen_part'],
            'taken out': False,
            'drives, all': 4.0,
            'camvid, camera': 1.0,
        },
        row | {'kinds': ['noisy'], 'taken out': False, 'drives, all': 0.5, 'camvid, camera': 6.0},
    ]
    rows += [each | {'half': 'measured_only'} for each in rows[2:]]
    assert [kept_out(each, COSTS) for each in rows] == [True, True, False, False]
    first, second = summary(rows, COSTS)
    assert (first['pairs'], first['cost 5 points on camvid'], first['named']) == (3, 2, 2)
    assert first['lost without health'] == pytest.approx(10.5 / 3)
    assert first['by findings'] == pytest.approx(5.5 / 3)
    assert first['and by costs'] == pytest.approx(2.5 / 3)
    assert first['worse than without health'] == 0
    assert second['and by costs'] == 0.5
    assert kind_costs(rows)['frozen_part'] == FaultCost(4.0, 1.0, 1)
    assert 'torn' not in kind_costs(rows)  # it is taken out anyway
