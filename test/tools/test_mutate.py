"""The mutation job: which tests belong to a file, and what counts as unnoticed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.mutate import folder_of_tests, survivors


@pytest.mark.parametrize(
    ('file', 'folder'),
    [
        ('sam_ad_perception/core/routing/router.py', 'test/core/routing'),
        ('sam_ad_perception/core/sensors.py', 'test/core'),
        ('sam_ad_perception/commands/doctor/machine.py', 'test/commands'),
    ],
)
def test_a_file_is_held_against_the_tests_of_its_folder(file: str, folder: str) -> None:
    assert folder_of_tests(Path(file)) == Path(folder)


def test_a_file_without_tests_is_named() -> None:
    with pytest.raises(ValueError, match=r'api\.py has no folder of tests'):
        folder_of_tests(Path('sam_ad_perception/api.py'))


def test_survivors_are_those_whose_tests_passed() -> None:
    lines = [
        [{'job_id': '1'}, {'test_outcome': 'killed', 'diff': 'a'}],
        [{'job_id': '2'}, {'test_outcome': 'survived', 'diff': 'b'}],
        [{'job_id': '3'}, None],
    ]
    assert survivors('\n'.join(map(json.dumps, lines))) == ['b']
