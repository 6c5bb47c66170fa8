"""A run whose process is killed while it saves keeps its last whole state."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from training.networks.checkpoint import load_run, save_run

ROOT = Path(__file__).parents[3]

# Saves step AT and ends, as kill -9 does, at the AT-th call that changes the disk for good.
SAVER = """
import os, sys
from pathlib import Path
import torch
from training.networks.checkpoint import save_run

path, at, count = Path(sys.argv[1]), int(sys.argv[2]), 0

def counted(call):
    def step(*arguments, **options):
        global count
        count += 1
        if count == at:
            os._exit(9)
        return call(*arguments, **options)
    return step

for name in ('fsync', 'replace', 'unlink', 'truncate', 'fchmod'):
    setattr(os, name, counted(getattr(os, name)))
save_run(path, {'step': at, 'weights': torch.full((1000,), float(at))})
"""


def test_a_run_killed_while_it_saves_keeps_a_whole_state(tmp_path):
    path = tmp_path / 'run.pt'
    save_run(path, {'step': 0, 'weights': torch.zeros(1000)})
    last, at, code = 0, 1, 9
    while code == 9:
        command = [sys.executable, '-c', SAVER, str(path), str(at)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
        code = done.returncode
        assert code in (0, 9), done.stderr
        state = load_run(path)
        assert state['step'] in (last, at)
        assert bool((state['weights'] == state['step']).all())
        last, at = state['step'], at + 1
    assert at > 5
    assert last == at - 1
    assert [entry.name for entry in tmp_path.iterdir()] == ['run.pt']


def test_a_damaged_state_is_told(tmp_path):
    path = tmp_path / 'run.pt'
    save_run(path, {'step': 1, 'weights': torch.zeros(1000)})
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ValueError, match=r'run\.pt is damaged or no state of a run'):
        load_run(path)
