"""What a run leaves in its folder: tables, states, weights, and the version of the code."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from training.configuration.run import TrainConfig
from training.networks.checkpoint import BestWeights, load_run, save_run
from training.runs.folder import RunFolder, code_version

ROOT = Path(__file__).parents[3]


def test_figures_after_the_last_state_go_when_a_run_goes_on(tmp_path):
    config = TrainConfig('debug', str(tmp_path), str(tmp_path))
    folder = RunFolder(config, Console(quiet=True), 0)
    for step in (1, 2, 3):
        folder.log('metrics', {'loss': 1 / step}, step)
    with (tmp_path / 'metrics.csv').open('a') as file:
        file.write('4')  # cut off in writing
    RunFolder(config, Console(quiet=True), 2).log('metrics', {'loss': 7.0}, 3)
    with (tmp_path / 'metrics.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {'step': '1', 'loss': '1'},
        {'step': '2', 'loss': '0.5'},
        {'step': '3', 'loss': '7'},
    ]


def test_tensorboard_gets_what_the_table_gets(tmp_path):
    pytest.importorskip('tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = RunFolder(TrainConfig('debug', str(tmp_path), str(tmp_path)), Console(quiet=True), 0)
    folder.log('metrics', {'loss': 0.25}, 3)
    folder.draw('frame_0', [np.zeros((4, 6, 3), np.uint8)] * 2, 3)
    folder.flush()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in events.Scalars('metrics/loss')] == [(3, 0.25)]
    assert [e.step for e in events.Images('frame_0')] == [3]


def test_without_tensorboard_it_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', None)
    RunFolder(TrainConfig('debug', str(tmp_path), str(tmp_path)), Console(), 0).flush()
    assert 'no event files for TensorBoard, which is not installed' in capsys.readouterr().out


def test_code_version_needs_no_git(tmp_path, monkeypatch):
    assert code_version(tmp_path) == 'unknown'
    monkeypatch.setenv('PATH', str(tmp_path))
    assert code_version(ROOT) == 'unknown'


def test_code_version_is_that_of_the_commit(tmp_path):
    def git(*arguments: str) -> str:
        who = ['-c', 'user.name=a', '-c', 'user.email=a@b']
        done = subprocess.run(
            ['git', *who, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git('init')
    (tmp_path / 'x').write_text('1')
    git('add', 'x')
    git('commit', '-m', 'x')
    assert code_version(tmp_path) == git('rev-parse', '--short', 'HEAD')
    (tmp_path / 'x').write_text('2')
    assert code_version(tmp_path).endswith('-dirty')


def test_best_weights_are_the_best(tmp_path):
    best = BestWeights(tmp_path, 2)
    offered = [(0.5, 10), (0.3, 20), (0.6, 30), (0.1, 40), (0.55, 50)]
    kept = [best.offer({'x': torch.ones(1)}, miou, step, half=False) for miou, step in offered]
    assert kept == [True, True, True, False, True]
    assert [path.name for path in best.kept()] == [
        'miou_060.00_step_00000030.safetensors',
        'miou_055.00_step_00000050.safetensors',
    ]


def test_a_write_that_fails_leaves_the_old_state(tmp_path):
    path = tmp_path / 'run.pt'
    save_run(path, {'step': 1})
    with pytest.raises(AttributeError):
        save_run(path, {'step': (lambda: None).missing})
    assert load_run(path) == {'step': 1}
