"""Every statement of the papers stands in a configuration or a test, as its row says."""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path

import pytest

from training.configuration.claims import (
    KINDS,
    OURS,
    Claim,
    card_lists,
    find_places,
    headed,
    load_papers,
    value_at,
    with_head,
)

ROOT = Path(__file__).parents[3]
PAPERS = load_papers()
ROWS = [
    pytest.param(paper, claim, id=f'{name}-{index}-{claim.key or claim.at}')
    for name, paper in PAPERS.items()
    for index, claim in enumerate(paper.claims)
]


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch) -> None:
    monkeypatch.chdir(ROOT)


@lru_cache
def functions_of(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def plain(value):
    """Lists for tuples, so that what is read equals what is built."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def test_each_paper_has_its_statements_of_every_topic():
    assert set(PAPERS) == {'ad_sam', 'fusion_sam', 'mle_sam'}
    assert {name: len(paper.claims) > 30 for name, paper in PAPERS.items()} == dict.fromkeys(
        PAPERS, True
    )
    for paper in PAPERS.values():
        assert {claim.kind for claim in paper.claims} == set(KINDS)
        assert len({(c.says, c.at) for c in paper.claims}) == len(paper.claims)


@pytest.mark.parametrize(('paper', 'claim'), ROWS)
def test_the_field_has_the_value_and_the_test_exists(paper, claim):
    if claim.key:
        for place, values in find_places(paper, claim.places).items():
            assert plain(value_at(values, claim.key)) == plain(claim.value), place
    for test in claim.tests:
        file, name = test.split('::')
        assert name in functions_of(file), test


def test_configurations_say_where_their_values_are_from():
    for name, paper in PAPERS.items():
        files = headed(paper)
        assert len(files) == {'ad_sam': 2, 'fusion_sam': 2, 'mle_sam': 15}[name]
        for path in files:
            text = path.read_text()
            place = path.relative_to(ROOT).as_posix()
            assert with_head(text, place, paper, name) == text, 'python -m tools.documentation'
            assert text.count('# claims:') == 1
            assert 'not stated' not in text.split('\nmodel:')[1]
            told = {line.split(':')[0].removeprefix('#   ') for line in text.splitlines()
                    if line.startswith('#   ')}  # fmt: skip
            wanted = {c.key for c in paper.claims if c.places == 'runs'}
            assert told == wanted


def test_a_head_is_written_anew_and_nothing_else():
    paper = PAPERS['ad_sam']
    text = '# one\n# claims: old\n#   loss.focal: wrong\nmodel: ad_sam\n'
    made = with_head(text, 'training/configs/ad_sam_cityscapes.yaml', paper, 'ad_sam')
    assert made.startswith('# one\n# claims: of training/papers/ad_sam.yaml')
    assert '#   loss.focal: lineage, its code\n' in made
    assert made.endswith('\nmodel: ad_sam\n')
    assert 'wrong' not in made


def test_cards_list_what_differs_apart_from_what_is_open():
    lists = card_lists(PAPERS['fusion_sam'])
    faithful, rest = lists.split('**Different.**')
    different, open_ = rest.split('**Open in the paper.**')
    assert 'Learning rate 1e-4 at the start.' in faithful
    assert 'copy the points from the labels' in different
    assert 'Number of codes.' in open_
    assert all(c.why for c in PAPERS['fusion_sam'].claims if c.kind == OURS)
    for row in PAPERS['fusion_sam'].claims:
        assert lists.count(f'* {row.says} ') == 1, row


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'kind': 'guess'}, 'kind must be one of'),
        ({'kind': 'ours'}, 'why with ours'),
        ({'kind': 'lineage'}, 'code goes with lineage'),
        ({'differs': True}, 'only ours differs'),
        ({'key': ''}, 'places and key go together'),
        ({'key': '', 'places': ''}, 'a field or a test realises a row'),
    ],
)
def test_rows_that_say_too_little_are_refused(change, message):
    fields = {
        'says': 'x',
        'at': 'y',
        'topic': 'loss',
        'kind': 'paper',
        'places': 'runs',
        'key': 'a',
    }
    with pytest.raises(ValueError, match=message):
        Claim(**{**fields, **change})
