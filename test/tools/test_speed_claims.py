"""The table of what is claimed of the speed."""

import json
import math

import pytest

from tools.documentation.speed_claims import (
    CLAIMS,
    Claim,
    masks_per_s,
    one,
    speed_table,
    times_the_peer,
)


def save(folder, name, *rows):
    (folder / f'{name}.json').write_text(json.dumps({'command': 'measure it', 'rows': rows}))


@pytest.mark.parametrize(
    ('value', 'at_least', 'verdict'),
    [(3.0, False, 'met'), (2.9, False, 'met'), (3.1, False, '**missed**'),
     (3.0, True, 'met'), (3.1, True, 'met'), (2.9, True, '**missed**')],
)  # fmt: skip
def test_a_claim_is_held_against_its_target(tmp_path, value, at_least, verdict):
    save(tmp_path, 'mine', {'what': 'it', 'ours': value}, {'what': 'else', 'ours': 0.0})
    row = Claim('it', 'mine', one('it'), 3, 'ms', at_least).row(tmp_path)
    cells = [cell.strip() for cell in row.strip('|').split('|')]
    bound = 'at least' if at_least else 'at most'
    assert cells == ['it', f'{bound} 3 ms', f'{value:.3g} ms', verdict, '`measure it`']


def test_what_was_not_measured_is_told(tmp_path):
    lines = speed_table(tmp_path).splitlines()[2:]
    assert len(lines) == len(CLAIMS)
    assert all('not measured' in line for line in lines)


def test_masks_count_only_where_they_are_the_same():
    slow = {'problem': '', 'same': 1.0, 'frame': {'p50': 500.0}}
    other = {'problem': '', 'same': 0.9, 'frame': {'p50': 10.0}}
    broken = {'problem': 'cannot run', 'same': math.nan, 'frame': {'p50': math.nan}}
    assert masks_per_s([slow, other, broken]) == 2.0


def test_a_peer_that_is_twice_as_fast_is_two_peers():
    assert times_the_peer('it')([{'what': 'it', 'ours': 10.0, 'theirs': 5.0, 'ratio': 0.5}]) == 2


def test_the_row_must_be_there(tmp_path):
    save(tmp_path, 'mine', {'what': 'else', 'ours': 1.0})
    with pytest.raises(ValueError, match='not enough values'):
        Claim('it', 'mine', one('it'), 3, 'ms').row(tmp_path)
