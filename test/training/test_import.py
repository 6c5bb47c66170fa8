"""The sam2 wheel installs a top-level `training` too; from the repository root ours must win."""

from __future__ import annotations

import importlib.metadata
import multiprocessing
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOSSES = ROOT / 'training' / 'optimization' / 'losses.py'


def test_the_wheel_really_brings_one():
    files = importlib.metadata.files('sam2') or []
    assert any(str(file) == 'training/__init__.py' for file in files)


def test_ours_wins_from_the_repository_root():
    code = 'import training; print(training.__file__)'
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()) == ROOT / 'training' / '__init__.py'


def test_ours_wins_as_a_module_run():
    done = subprocess.run(
        [sys.executable, '-m', 'training.train', '--help'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert 'Train a network of the zoo' in done.stdout


def test_ours_wins_in_this_process_and_in_spawned_workers():
    from training.optimization import losses

    assert Path(losses.__file__) == LOSSES
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        name = 'training.optimization.losses'
        path = pool.apply(eval, (f"__import__({name!r}, fromlist='x').__file__",))
    assert Path(path) == LOSSES


def test_the_package_does_not_import_training():
    code = (
        'import sys, sam_ad_perception.modeling.inference.segmenter as s; '
        'print(any(m.split(".")[0] == "training" for m in sys.modules))'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == 'False'
