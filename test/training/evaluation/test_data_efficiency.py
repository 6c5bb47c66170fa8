"""Runs on shares of the frames."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from training.configuration.run import TrainConfig, load_config
from training.experiments.data_efficiency import (
    FILE,
    configure_share,
    draw_figures,
    measure_shares,
)

ROOT = Path(__file__).parents[3]


@pytest.fixture
def config(camvid_run) -> TrainConfig:
    return camvid_run({'train': 8, 'val': 2})


def test_every_share_makes_as_many_steps_on_its_frames_only(config, tmp_path):
    rows = measure_shares(config, [25, 100], Console(quiet=True))
    assert [row['frames'] for row in rows] == [2, 8]
    assert [row['steps'] for row in rows] == [2, 2]
    assert all(0 <= row['miou'] <= 100 for row in rows)
    kept = json.loads((Path(config.output_dir) / FILE).read_text())
    assert kept == {'25': rows[0], '100': rows[1]}
    again = measure_shares(config, [25], Console(quiet=True))[0]  # nothing is left to do
    assert again | {'cpu_minutes': rows[0]['cpu_minutes']} == rows[0]
    table = draw_figures(rows, tmp_path)
    assert table.row_count == 2
    assert '25 %, 2 frames' in (tmp_path / 'data_efficiency.svg').read_text()


def test_epochs_make_up_for_frames(config):
    config = load_config(ROOT / 'training/configs/camvid.yaml', ['root=x'])
    part = configure_share(config, 10, 367)
    assert part.data.limit == 37
    assert part.schedule.epochs * 37 == pytest.approx(config.schedule.epochs * 367)
    with pytest.raises(ValueError, match=r'1 % gives 4'):
        configure_share(config, 1, 367)
