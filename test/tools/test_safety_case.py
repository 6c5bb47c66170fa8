"""Hazards name tests that exist and figures that were measured; what cannot be is refused."""

from __future__ import annotations

import ast
import json
from functools import lru_cache
from pathlib import Path

import pytest
import yaml

from tools.documentation.documents import RESULTS
from tools.documentation.safety_case import Figure, load_safety_case, safety_page

ROOT = Path(__file__).parents[2]
CASE = load_safety_case()
TESTS = [(hazard.id, test) for hazard in CASE.hazards for test in hazard.tests]
FIGURES = [
    pytest.param(figure, id=f'{hazard.id}-{figure.what}')
    for hazard in CASE.hazards
    for figure in hazard.figures
]


@lru_cache
def functions_of(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(('hazard', 'test'), TESTS)
def test_every_test_exists(hazard, test):
    file, name = test.split('::')
    assert name in functions_of(file)


@pytest.mark.parametrize('figure', FIGURES)
def test_every_figure_stands_in_the_results(figure):
    value, told = figure.read(RESULTS)
    assert value >= 0
    assert told


def test_every_camera_fault_belongs_to_a_hazard():
    """So that a fault that the benchmark measures cannot be left out of the page."""
    named = {
        fault
        for hazard in CASE.hazards
        for figure in hazard.figures
        if figure.where.get('sensor') == 'camera'
        for fault in figure.where.get('fault', ())
    }
    rows = json.loads((RESULTS / 'health_real.json').read_text())['rows']
    measured = {r['fault'] for r in rows if 'fault' in r and r['sensor'] == 'camera'}
    assert len(measured) > 50
    # of no danger: good frames that come twice, lamps, and what only looks otherwise
    harmless = {
        'doubled', 'row_banding', 'row_noise', 'albumentations:Posterize',
        'imagecorruptions:elastic_transform', 'imagecorruptions:saturate',
    }  # fmt: skip
    assert measured - named == harmless
    assert named <= measured


@pytest.fixture
def results(tmp_path):
    rows = [
        {'fault': 'mud', 'cells': 4, 'named': 3},
        {'fault': 'tape', 'cells': 4, 'named': 4},
        {'fault': 'torn', 'cells': 2, 'named': 0},
        {'what': 'late', 'ours': 41.5},
    ]
    (tmp_path / 'some.json').write_text(json.dumps({'rows': rows}))
    return tmp_path


def test_a_figure_is_a_sum_over_the_rows_that_count(results):
    dirt = Figure('dirt', 'some', 'named', 80, {'fault': ['mud', 'tape']}, of='cells')
    assert dirt.read(results) == (87.5, '7 of 8 (87.5 %)')
    assert dirt.is_met(results)
    whole = Figure('all', 'some', 'named', 80, of='cells')
    assert whole.read(results) == (70.0, '7 of 10 (70 %)')
    assert not whole.is_met(results)
    late = Figure('late', 'some', 'ours', 40, {'what': 'late'}, at_most=True, unit='ms')
    assert late.read(results) == (41.5, '41.5 ms')
    assert not late.is_met(results)
    assert late.goal_text == 'at most 40 ms'


@pytest.mark.parametrize(
    ('where', 'value', 'message'),
    [
        ({'fault': ['mud', 'gone']}, 'named', r"no row with fault \['gone'\]"),
        ({'what': 'late'}, 'named', "no row with what"),
        ({}, 'misspelt', "no row with 'misspelt'"),
    ],
)  # fmt: skip
def test_a_figure_that_is_nowhere_is_refused(results, where, value, message):
    with pytest.raises(ValueError, match=message):
        Figure('it', 'some', value, 1, where).read(results)


def test_the_page_tells_hits_misses_and_gaps(results, tmp_path):
    named = {'file': 'some', 'value': 'named', 'of': 'cells'}
    hazard = {
        'id': 'dirt',
        'hazard': 'Dirt.',
        'trigger': 'Mud.',
        'requirement': 'Named.',
        'tests': ['test/x.py::test_it'],
        'gap': 'Snow.',
        'figures': [{'what': f'named, {goal}', 'goal': goal, **named} for goal in (60, 90)],
    }
    path = tmp_path / 'safety.yaml'
    path.write_text(yaml.safe_dump({'hazards': [hazard]}))
    page = safety_page(results, path)
    assert '1 hazards, 2 figures, of which 1 miss their goal' in page
    assert '| named, 60 | at least 60 % | 7 of 10 (70 %) | met |' in page
    assert '| named, 90 | at least 90 % | 7 of 10 (70 %) | **missed** |' in page
    assert '| [dirt](#dirt) | named, 90 |' in page
    assert '**Not covered.** Snow.' in page


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'tests': []}, 'has no test'),
        ({'figures': []}, 'has no figure'),
        ({'tets': []}, 'unknown fields'),
    ],
)
def test_hazards_that_say_too_little_are_refused(tmp_path, change, message):
    hazard = {
        'id': 'dirt', 'hazard': 'a', 'trigger': 'b', 'requirement': 'c', 'tests': ['t::n'],
        'figures': [{'what': 'w', 'file': 'f', 'value': 'v', 'goal': 1}],
    }  # fmt: skip
    path = tmp_path / 'safety.yaml'
    path.write_text(yaml.safe_dump({'hazards': [hazard | change]}))
    with pytest.raises(ValueError, match=message):
        load_safety_case(path)
