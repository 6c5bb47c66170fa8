from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.metrics import ConfusionMatrix
from sam_ad_perception.core.routing.table import load_routing_table
from sam_ad_perception.modeling.zoo.entries import load_zoo, sensor_sets
from training.datasets import deliver
from training.datasets.catalog import LAYOUTS
from training.evaluation.confidence import BINS, ConfidenceHistogram
from training.evaluation.measurement import Score, Setting
from training.evaluation.presentation.plots import draw_confusion, draw_reliability, draw_subsets
from training.evaluation.presentation.published import comparable, load_published
from training.evaluation.presentation.tables import (
    case_table,
    other_protocols_table,
    published_table,
    retention_table,
    subset_name,
    subset_table,
)
from training.evaluation.routing_rows import SystemResult, routing_rows
from training.frames.benchmark_protocol import ZERO, BenchmarkProtocol

ROOT = Path(__file__).parents[3]
SENSORS = ('camera', 'thermal', 'event', 'lidar')


def test_published_results_are_of_known_datasets_splits_and_classes():
    results = load_published()
    assert len(results) > 60
    assert len({(r.method, r.dataset, r.split, r.sensors) for r in results}) == len(results)
    for result in results:
        layout = LAYOUTS[result.dataset]
        assert result.classes == len(LABEL_SPACES[layout.space]), result
        assert result.split.rstrip('?') in {'train', 'val', 'test', 'not stated'}, result
        assert 0 < result.miou < 100
        assert result.source
        assert set(result.conditions) <= {*deliver.CONDITIONS, *deliver.CASES}
        assert all(0 < value < 100 for value in result.conditions.values())


def test_the_papers_mean_over_subsets_is_the_mean_of_its_rows():
    rows = [r for r in load_published() if r.method == 'MLE-SAM, missing sensors']
    mean = [r.miou for r in rows if r.sensors.startswith('mean')]
    all_four = next(r.miou for r in load_published() if r.sensors.count('+') == 3)
    subsets = [r.miou for r in rows if not r.sensors.startswith('mean')]
    assert len(subsets) == 14  # all four stand among the networks trained on what they see
    assert mean == [pytest.approx((sum(subsets) + all_four) / 15, abs=0.01)]


def test_only_like_is_put_beside_like():
    results = load_published()
    found = comparable(results, 'deliver', 'val', 25)
    assert {r.dataset for r in found} == {'deliver'}
    assert {r.split for r in found} == {'val', 'val?'}
    assert [r.miou for r in found] == sorted((r.miou for r in found), reverse=True)
    assert all(r.miou < 60 for r in comparable(results, 'deliver', 'test', 25))
    assert comparable(results, 'mfnet', 'test', 8) == []
    assert comparable(results, 'deliver', 'val, first 10 frames', 25) == []
    told = [r for r in found if r.conditions]
    assert len(told) == 7
    protocol = BenchmarkProtocol('an evaluator', ZERO)
    mine = scored([[9, 1, 0], [1, 9, 0]])
    mine.protocol = protocol
    mine.official = {
        '': confusion([[9, 1, 0], [1, 9, 0]]),
        'fog': confusion([[5, 5, 0], [5, 5, 0]]),
    }
    other_size = scored([[9, 1, 0], [1, 9, 0]])
    systems = {'mine': mine, 'small': other_size}
    table = published_table([found[0], told[0]], systems, 'deliver val, 25 classes', protocol)
    cells = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [c['method'] for c in cells] == ['mine', 'small', found[0].method, told[0].method]
    assert [c['mIoU'] for c in cells] == ['81.82', '', f'{found[0].miou:.2f}', '64.08']
    assert 'no figure of this protocol' in cells[1]['note']
    assert [c['fog'] for c in cells] == ['33.3', '', '', '62.9']
    assert [c['lidarjitter'] for c in cells] == ['', '', '', '63.2']


def test_what_was_measured_by_another_protocol_stands_apart():
    results = load_published()
    assert 'AD-SAM' not in {r.method for r in comparable(results, 'cityscapes', 'val', 19)}
    apart = comparable(results, 'cityscapes', 'val', 19, otherwise=True)
    assert [r.method for r in apart] == ['AD-SAM']
    (row,) = other_protocols_table(apart).rows
    assert row[:2] == ('AD-SAM', '68.10')
    assert '1024x1024' in row[3]


def scored(counts, conditions=None, cases=None):
    """A score with given confusions."""
    made = []
    for values in (counts, counts):
        matrix = ConfusionMatrix(2)
        matrix.counts[:] = values
        made.append(matrix)
    score = Score(*made, conditions=conditions or {}, cases=cases or {}, frames=3, masks=3)
    score.confidence.update(np.array([127, 127], np.uint8), np.array([True, False]))
    return score


def confusion(counts):
    matrix = ConfusionMatrix(2)
    matrix.counts[:] = counts
    return matrix


def test_tables_mark_where_fewer_sensors_are_better():
    good, bad = [[9, 1, 0], [1, 9, 0]], [[5, 5, 0], [5, 5, 0]]
    everything, alone = Setting(('camera', 'lidar')), Setting(('lidar',))
    night = {
        everything: scored(good, {'night': confusion(bad)}, {'motionblur': confusion(bad)}),
        alone: scored(bad, {'night': confusion(good)}),
    }
    result = SystemResult('net', night, 10, 'ff')
    table = subset_table(result)
    assert [row[:3] for row in table.rows] == [
        ('all', '81.8', '33.3'),
        ('lidar', '33.3', '81.8*'),
        ('mean of 2', '57.6', '57.6'),
    ]
    assert table.rows[0][3] == '2'  # classes
    assert case_table(result).rows == (('motionblur', '33.3'),)
    rows = routing_rows(result)
    assert [(r.subset, r.miou, dict(r.conditions)) for r in rows] == [
        (('camera', 'lidar'), 81.82, {'night': 33.33}),
        (('lidar',), 33.33, {'night': 81.82}),
    ]
    night[alone].conditions['night'] = confusion([[9, 1, 0], [0, 0, 0]])  # answered, never there
    assert 100 * night[alone].conditions['night'].miou() == 45
    assert routing_rows(result)[1].conditions['night'] == 90
    night[alone].masks = 2  # a frame without a mask: not a thing to route to
    assert [r.subset for r in routing_rows(result)] == [('camera', 'lidar')]
    kept = retention_table('net', {('lidar',): 40.0, ('event',): 9.0}, {('lidar',): 50.0})
    assert kept.rows == (('lidar', '50.0', '40.0', '0.80'),)


def test_the_shipped_routing_table_was_measured_with_the_shipped_weights():
    zoo = load_zoo(ROOT / 'models/zoo.yaml')
    table = load_routing_table(ROOT / 'models/routing/simulated.yaml')
    assert table.command.startswith('python -m training.evidence')
    for row in table.rows:
        assert row.checkpoint_sha256 == zoo[row.expert].checkpoint.sha256, (
            f'{row.expert} was trained again; measure it again: {table.command}'
        )
        assert {'day', 'night'} <= set(row.conditions)
    for key in {row.expert for row in table.rows}:
        subsets = {frozenset(row.subset) for row in table.rows if row.expert == key}
        assert subsets == set(map(frozenset, sensor_sets(zoo[key])))


def test_subsets_are_named_by_what_is_gone():
    assert subset_name(SENSORS, SENSORS) == 'all'
    assert subset_name(SENSORS[1:], SENSORS) == 'no camera'
    assert subset_name(SENSORS[:1], SENSORS) == 'camera'
    assert subset_name(SENSORS[:2], SENSORS) == 'camera + thermal'
    assert subset_name(SENSORS[:1], SENSORS[:2]) == 'camera'


def test_bins_hold_what_the_error_is_made_of():
    rng = np.random.default_rng(0)
    sure = rng.integers(0, 256, 5000, dtype=np.uint8)
    right = rng.uniform(size=5000) < (sure / 255) ** 2
    histogram = ConfidenceHistogram()
    histogram.update(sure, right)
    bins = histogram.bins()
    count, mean, share = bins.T
    assert count.sum() == 5000
    assert histogram.error() == pytest.approx((count * abs(mean - share)).sum() / 5000)
    inside = (sure / 255 >= 6 / BINS) & (sure / 255 < 7 / BINS)
    assert bins[6] == pytest.approx(
        [inside.sum(), sure[inside].mean() / 255, right[inside].mean()]
    )
    assert np.isnan(ConfidenceHistogram().bins(4)[:, 1:]).all()


def test_pictures_show_the_figures(tmp_path: Path):
    import xml.etree.ElementTree as ET

    counts = np.array([[75, 25, 0, 0], [0, 0, 0, 0], [0, 0, 60, 40]])
    picture = draw_confusion(counts, ('a <b>', 'never', 'c'))
    ET.fromstring(picture)
    texts = [e.text for e in ET.fromstring(picture).iter() if e.tag.endswith('text')]
    assert texts[:4] == ['a <b>', 'never', 'c', 'no answer']
    assert [t for t in texts if t and t.isdigit()] == ['75', '25', '60', '40']
    dots = ET.fromstring(draw_subsets({'all': {'all frames': 50.0, 'night': 25.0}}))
    assert len(list(dots.iter())) > 8
    bars = ET.fromstring(draw_subsets({'all': {'all frames': 50.0}}))
    assert '210.0' in [e.get('width') for e in bars.iter() if e.tag.endswith('rect')]
    bins = np.array([[0, np.nan, np.nan], [10, 0.75, 0.5]])
    shown = ET.fromstring(draw_reliability(bins))
    assert '125.0' in [e.get('height') for e in shown.iter() if e.tag.endswith('rect')]
