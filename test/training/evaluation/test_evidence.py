from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.routing.table import load_routing_table
from sam_ad_perception.modeling.zoo.entries import build_model, load_zoo
from training import evidence as command
from training.evaluation.data import HeldBackDrives
from training.evaluation.measurement import Score, Setting, total_matrix
from training.evaluation.plan import ROUTED
from training.evidence_report.bench import (
    DRIVEN,
    FAULTS,
    JUDGED,
    SUBSETS,
    Job,
    NetworkFacts,
    Task,
    open_bench,
)
from training.evidence_report.tables import driven_table, markdown, subset_comparison, target_table
from training.evidence_report.targets import (
    Comparison,
    Evidence,
    Target,
    compare_all,
    figures,
    hold_targets,
)
from training.experiments import ablation
from training.networks.checkpoint import export_weights

ROOT = Path(__file__).parents[3]
DEBUG = ROOT / 'training/configs/debug_zoo.yaml'
SPACE = LABEL_SPACES['cityscapes']
SENSORS = ('camera', 'thermal', 'event', 'lidar')
GRID = (16, 24)


@pytest.fixture(scope='module')
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp('weights')
    for number, key in enumerate(('debug', 'debug_ad_sam')):
        torch.manual_seed(number)
        export_weights(
            build_model(load_zoo(DEBUG)[key]).state_dict(), folder / f'{key}.safetensors'
        )
    names = tuple(str(folder / f'{key}.safetensors') for key in ('debug', 'debug_ad_sam'))
    return Job(names, DEBUG, folder)


def test_command_measures_all_and_writes_tables_figures_and_routing(
    job, tmp_path, monkeypatch, capsys
):
    table, out = tmp_path / 'routing.yaml', tmp_path / 'out'
    monkeypatch.setattr(
        'sys.argv',
        ['evidence', *job.networks, '--zoo', str(DEBUG), '--frames', '2', '--fault-frames', '1',
         '--conditions', 'night', '--workers', '1', '--full', 'debug', '--fast', '',
         '--routing', str(table), '--out', str(out)],
    )  # fmt: skip
    threads = torch.get_num_threads()
    command.main()
    torch.set_num_threads(threads)
    text = capsys.readouterr().out
    assert 'missed by' in text  # nothing was trained
    routing = load_routing_table(table)
    assert routing.split == 'held-back seed 0, 1 frames each of night'
    assert {row.expert for row in routing.rows} == {'debug', 'debug_ad_sam'}
    assert len(routing.rows) == 15 + 1
    made = json.loads((out / 'simulated.json').read_text())
    assert made['frames'][1] == 'held-back seed 50, 1 frames each of night'
    rows = made['miou']
    assert set(rows) == {SUBSETS, JUDGED, DRIVEN, FAULTS}
    whole = [r for r in rows[SUBSETS] if r['system'] == 'debug' and len(r['sensors']) == 4]
    assert [r['frames'] for r in whole] == [2]
    # the vehicle is compared on the frames that it was shown
    half = [r for r in rows[JUDGED] if len(r['sensors']) == 4] + rows[DRIVEN]
    assert {r['frames'] for r in half} == {1}
    faults = {r['fault'] for r in rows[FAULTS] if r['system'] == ROUTED} - {''}
    assert len(faults) == 24
    assert {f.split(':')[0] for f in faults} == set(SENSORS)
    seen = {r['fault'].split(':')[0] for r in rows[FAULTS] if r['system'] == 'debug_ad_sam'}
    assert seen == {'', 'camera'}
    # five sets of sensors and each fault, in the condition and in the mix
    assert len(made['routed']) == 2 * (5 + len(faults))
    front = (out / 'simulated.md').read_text()
    for row in made['targets']:
        shown = re.search(rf'\| {re.escape(row["name"])} \|.*\| (.*?) \|.*\| .*\|', front)
        assert shown, row['name']
    assert 'debug: mIoU by sensors' in front
    details = (out / 'simulated_details.md').read_text()
    assert 'with noise on one sensor' in details
    assert '| camera: motion blur |' in details


def test_another_process_gives_the_same_scores(job):
    data = HeldBackDrives(1, ('day',), range(50, 100))
    tasks = [Task(data, 0, (SUBSETS,))]
    console = Console(quiet=True)
    single = Job(job.networks[:1], job.zoo, job.checkpoints)
    totals = []
    for workers in (1, 2):
        with open_bench(single, workers) as measure:
            totals.append(command.run_tasks(measure, tasks, '', console)[SUBSETS])
    alone, together = totals
    assert set(alone) == set(together) == {'debug', 'perfect labels, 16 x 24 grid'}
    for setting, score in alone['debug'].items():
        assert (together['debug'][setting].native.counts == score.native.counts).all()
    with pytest.raises(ValueError, match='networks must be of different entries'):
        open_bench(Job(job.networks[:1] * 2, DEBUG, job.checkpoints), 1).__enter__()


def test_what_the_sensors_saw_before_is_older_and_healthy():
    data = HeldBackDrives(1, ('rain',), range(3, 4))
    frame, before = data.read(0), data.read_before(0)
    ages = [frame.bundle.stamp_ns - bundle.stamp_ns for bundle in before]
    assert ages == [200_000_000, 100_000_000]
    assert all(set(bundle.frames) == set(frame.bundle.frames) for bundle in before)


def scored(day: float, night: float) -> Score:
    """Two classes by condition: the share of 1000 pixels of each class that is right."""
    score = Score(total_matrix((), SPACE), total_matrix((), SPACE), frames=2, masks=2)
    for name, share in (('day', day), ('night', night)):
        matrix = total_matrix((), SPACE)
        right = round(1000 * share)
        matrix.counts[0, 0] = matrix.counts[1, 1] = right
        matrix.counts[0, 19] = matrix.counts[1, 19] = 1000 - right
        score.conditions[name] = matrix
        score.native.merge(matrix)
    return score


def evidence_of(networks, parts) -> Evidence:
    return Evidence(networks, SENSORS, ('day', 'night'), parts, 'wide', 'quick')


def test_the_mix_is_one_matrix_of_the_classes_that_occur():
    score = scored(0.9, 0.5)
    score.native.counts[0, 5] = 7  # a class that never occurs is not in the mean
    found = figures(score)
    assert found == pytest.approx({'mix': 70.0, 'day': 90.0, 'night': 50.0}, abs=0.2)


def test_targets_are_held_against_what_was_measured():
    wide = NetworkFacts('wide', SENSORS, 1, '', GRID)
    ceiling = {wide.ceiling: {Setting(SENSORS): scored(0.91, 0.91)}}
    reached = {
        SENSORS: (0.8, 0.8), SENSORS[1:]: (0.65, 0.65), ('camera', 'event', 'lidar'): (0.7, 0.7),
        ('camera', 'thermal', 'lidar'): (0.79, 0.79), SENSORS[:3]: (0.72, 0.72),
        ('thermal', 'lidar'): (0.49, 0.5), ('camera',): (0.8, 0.68),
    }  # fmt: skip
    subsets = {'wide': {Setting(s): scored(*v) for s, v in reached.items()}, **ceiling}
    targets = hold_targets(evidence_of([wide], {SUBSETS: subsets}), ())
    missed = [round(each.missed_by, 6) for each in targets]
    assert [each.goal for each in targets] == [80, 15, 8, 8, 8, 50, 12]
    assert missed == [0, 0, 2, 0, 0, 0.5, 0]
    assert targets[0].note == 'perfect labels, 16 x 24 grid: 91.0'
    text = markdown(target_table(targets))
    assert '| at most 8 | 10.0 | **missed by 2.0** |' in text
    assert text.count('| met |') == 5


def test_a_near_miss_is_not_rounded_away():
    text = markdown(target_table([Target('x', 80.0, 79.988)]))
    assert '| at least 80 | 79.99 | **missed by 0.01** |' in text


def test_the_vehicle_is_compared_with_the_best_and_the_worst_that_there_is():
    wide = NetworkFacts('wide', SENSORS, 1, '', GRID)
    narrow = NetworkFacts('narrow', ('camera',), 1, '', GRID)
    fault = 'camera:black'
    without = {Setting(SENSORS[1:], checked=True): scored(0.55, 0.6)}
    seen = Setting(('camera',))
    parts = {
        JUDGED: {
            'wide': {Setting(SENSORS): scored(0.8, 0.5), Setting(SENSORS[1:]): scored(0.6, 0.6)},
            'narrow': {seen: scored(0.7, 0.6)},
        },
        DRIVEN: {
            ROUTED: {
                Setting(SENSORS, checked=True): scored(0.8, 0.6),
                Setting(SENSORS[1:], checked=True): scored(0.6, 0.6),
            }
        },
        FAULTS: {
            'wide': {
                Setting(SENSORS): scored(0.8, 0.5),
                Setting(SENSORS, fault): scored(0.3, 0.3),
            },
            'narrow': {seen: scored(0, 0), Setting(('camera',), fault): scored(0, 0)},
            'wide, checked': {
                Setting(SENSORS, checked=True): scored(0.8, 0.5), **without,
                Setting(SENSORS, fault, checked=True): scored(0.4, 0.65),
            },
            'narrow, checked': {
                Setting(('camera',), checked=True): scored(0.7, 0.6),
                Setting(('camera',), fault, checked=True): scored(0.1, 0.1),
            },
            ROUTED: {
                Setting(SENSORS, checked=True): scored(0.8, 0.6),
                Setting(SENSORS, fault, checked=True): scored(0.5, 0.6),
            },
        },
    }  # fmt: skip
    evidence = Evidence([wide, narrow], SENSORS, ('day', 'night'), parts)
    found = {(c.fault, c.condition): c for c in compare_all(evidence)}
    assert found['', 'night'].best_key == 'narrow'  # the camera alone is better by night
    assert found['', 'day'].best == pytest.approx(80)
    assert found['no camera', 'day'].best_key == 'wide'
    table = driven_table(list(found.values()))
    assert table.rows[0] == ('all', '70.0 (+5.0)', '80.0 (+0.0)', '60.0 (+0.0)')
    by_day = found[fault, 'day']
    assert (by_day.routed, by_day.best, by_day.worst) == pytest.approx((50, 40, 55))
    clear, faulty, rest = (t for t in hold_targets(evidence, list(found.values())) if not t.goal)
    assert clear.missed_by == 0
    assert faulty.missed_by == pytest.approx(5)
    assert faulty.note == 'behind in 1 of 6, farthest: night, camera black'
    assert rest.missed_by == pytest.approx(5)
    assert rest.note == 'behind in 2 of 6, farthest: day, camera black'


def test_networks_stand_side_by_side_with_what_each_sensor_is_worth():
    networks = [NetworkFacts(key, SENSORS, 1, '', GRID) for key in ('wide', 'quick')]
    parts = {
        SUBSETS: {
            'wide': {Setting(SENSORS): scored(0.8, 0.8), Setting(SENSORS[:3]): scored(0.7, 0.7)},
            'quick': {Setting(SENSORS): scored(0.6, 0.6), Setting(SENSORS[:3]): scored(0.2, 0.2)},
        }
    }
    table = subset_comparison(evidence_of(networks, parts), {'quick': 'no dropout'})
    assert table.columns == ('sensors', 'wide', 'no dropout')
    assert table.rows == (
        ('all', '80.0', '60.0'),
        ('no lidar', '70.0 (-10.0)', '20.0 (-40.0)'),
        ('mean of 2', '75.0', '40.0'),
    )


def test_a_tie_is_no_lead_and_no_miss():
    assert Target('x', 8.0, 8.0, at_most=True).missed_by == 0
    assert Target('x', 8.0, 7.5).missed_by == 0.5
    near = Comparison('', 'day', 50.0, 50.04, 'wide', 0.0)
    evidence = evidence_of([], {SUBSETS: {}})
    faulty = Comparison('no lidar', 'day', 50.0, 50.06, 'wide', 50.0)
    targets = hold_targets(evidence, [near, faulty])
    assert [np.round(each.missed_by, 2) for each in targets] == [0, 0.06, 0]


def test_networks_of_an_ablation_are_put_side_by_side(job, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        'sys.argv',
        ['ablation', job.networks[0], '--zoo', str(DEBUG), '--frames', '1', '--conditions', 'fog',
         '--workers', '1', '--out', str(tmp_path)],
    )  # fmt: skip
    threads = torch.get_num_threads()
    ablation.main()
    torch.set_num_threads(threads)
    assert 'mean of 15' in capsys.readouterr().out
    made = json.loads((tmp_path / 'ablation.json').read_text())
    assert len([row for row in made['miou'][SUBSETS] if row['system'] == 'debug']) == 15
    assert (tmp_path / 'ablation.md').read_text().count('\n| ') == 17
