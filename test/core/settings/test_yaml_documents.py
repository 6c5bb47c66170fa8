"""YAML within a budget; PyYAML itself says what the values are."""

from __future__ import annotations

import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sam_ad_perception.core.settings.yaml_documents import (
    MAX_BYTES,
    YamlError,
    parse_yaml,
    read_yaml,
)
from sam_ad_perception.modeling.zoo.entries import load_zoo

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(values)
def test_values_are_those_of_pyyaml(value):
    text = yaml.safe_dump(value, allow_unicode=True)
    assert parse_yaml(text, 'x') == yaml.safe_load(text)


def bomb(levels: int) -> str:
    lines = ['a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]']
    for level in range(1, levels):
        names = ', '.join([f'*a{level - 1}'] * 9)
        lines.append(f'a{level}: &a{level} [{names}]')
    return '\n'.join(lines)


@pytest.mark.parametrize(
    ('text', 'match'),
    [
        (bomb(9), r'x, line \d: aliases make more than 500000 values of it'),
        ('a: &a [*a]', 'x, line 1: an alias contains itself'),
        ('[' * 150 + ']' * 150, 'nested deeper than 100 levels'),
        ('[' * 100_000, 'nests deeper than 100 levels'),
        ('a: {b: [}', r'x is not valid YAML: line 1, column 9'),
        ('!!python/object/apply:os.system ["true"]', 'could not determine a constructor'),
        ('a: \x00', 'is not valid YAML'),
    ],
    ids=['bomb', 'circle', 'deep', 'very deep', 'syntax', 'object', 'control character'],
)
def test_what_exceeds_the_budget_is_refused_at_once(text, match):
    begin = time.process_time()
    with pytest.raises(YamlError, match=match) as caught:
        parse_yaml(text, 'x')
    assert time.process_time() - begin < 5
    assert len(str(caught.value)) < 400  # foreign text is not printed whole


def test_a_zoo_that_is_a_bomb_is_refused(tmp_path):
    path = tmp_path / 'zoo.yaml'
    path.write_text(bomb(9) + '\nmodels: *a8\n')
    with pytest.raises(ValueError, match='aliases make more than'):
        load_zoo(path)
    path.write_bytes(b'# ' + b'x' * MAX_BYTES)
    with pytest.raises(YamlError, match='at most 16777216 are read'):
        read_yaml(path)
    path.write_bytes(b'\xff\xfe\xfd')
    with pytest.raises(YamlError, match='is not valid YAML'):
        read_yaml(path)
