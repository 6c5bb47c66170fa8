"""The name that was meant, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam_ad_perception.core.console.suggestions import did_you_mean, missing_path, nearest


@pytest.mark.parametrize(
    ('word', 'known', 'meant'),
    [
        ('lable', ['label', 'train'], 'label'),
        ('cam', ['camera', 'thermal'], 'camera'),
        ('mle-sam-demo', ['mle_sam_demo', 'mle_sam_fast'], 'mle_sam_demo'),
        ('CAMERA', ['camera'], 'camera'),
        ('th', ['thermal', 'camera'], 'thermal'),
        ('c', ['camera', 'confidence'], ''),  # two begin so
        ('', ['thermal'], ''),
        ('radar', ['camera', 'thermal'], ''),
    ],
)
def test_the_nearest_name(word: str, known: list[str], meant: str) -> None:
    assert nearest(word, known) == meant
    assert did_you_mean(word, known) == (f', did you mean {meant!r}?' if meant else '')


def test_a_missing_file_names_the_one_beside_it(tmp_path: Path) -> None:
    (tmp_path / 'vehicle.yaml').touch()
    (tmp_path / 'drive').mkdir()
    said = missing_path(tmp_path / 'vehicel.yaml')
    assert said.endswith(f'does not exist, did you mean {str(tmp_path / "vehicle.yaml")!r}?')
    assert missing_path(tmp_path / 'other.yaml').endswith('does not exist')
    assert missing_path(tmp_path / 'vehicel.txt').endswith('does not exist')
    assert missing_path(tmp_path / 'drve').endswith("drive'?")
    inside = tmp_path / 'gone' / 'file'
    assert (
        missing_path(inside) == f'{inside} does not exist, for {tmp_path / "gone"} does not exist'
    )
