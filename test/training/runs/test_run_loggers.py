"""Weights & Biases and MLflow get what the tables of a run get; read back by themselves."""

from __future__ import annotations

import json
import re
import sys
import time

import numpy as np
import pytest
from rich.console import Console

from training.configuration.run import TrainConfig
from training.runs.folder import RunFolder


def write(folder, loggers, step):
    """One start of a run that tells a figure and a picture."""
    config = TrainConfig('debug', str(folder), str(folder), loggers=loggers)
    run = RunFolder(config, Console(quiet=True), step)
    run.log('metrics', {'loss': 1.0 / (step + 1)}, step + 1)
    run.draw('frame_0', [np.full((4, 6, 3), 200, np.uint8)] * 2, step + 1)
    run.close()
    return run


def test_mlflow_holds_both_starts_of_a_run_as_one(tmp_path, monkeypatch):
    tracking = pytest.importorskip('mlflow.tracking', reason='mlflow is not installed')
    pytest.importorskip('sqlalchemy', reason='mlflow has no database here')
    monkeypatch.delenv('MLFLOW_TRACKING_URI', raising=False)
    for step in (0, 1):
        write(tmp_path, ('mlflow',), step)
    client = tracking.MlflowClient(f'sqlite:///{tmp_path / "mlflow.db"}')
    experiment = client.get_experiment_by_name('sam_ad')
    (run,) = client.search_runs([experiment.experiment_id])
    told = client.get_metric_history(run.info.run_id, 'metrics/loss')
    assert [(m.step, m.value) for m in told] == [(1, 1.0), (2, 0.5)]
    assert run.data.params['model'] == 'debug'
    assert [a.path for a in client.list_artifacts(run.info.run_id, 'pictures')] == [
        'pictures/frame_0_00000001.png',
        'pictures/frame_0_00000002.png',
    ]


def test_wandb_keeps_a_run_offline_and_goes_on_with_its_identity(tmp_path, monkeypatch):
    pytest.importorskip('wandb', reason='wandb is not installed')
    monkeypatch.setenv('WANDB_MODE', 'offline')
    for step in (0, 1):
        write(tmp_path, ('wandb',), step)
    files = sorted((tmp_path / 'wandb').glob('offline-run-*/run-*.wandb'))
    assert len(files) == 2
    assert len({file.name for file in files}) == 1  # one identity
    assert [history_of(file) for file in files] == [[1.0], [0.5]]
    assert len(list((tmp_path / 'wandb').glob('offline-run-*/files/media/images/frame_0_*'))) == 2


def history_of(file):
    """The losses in a file of Weights & Biases: key and JSON value in fields 2 and 16."""
    pattern = re.compile(rb'metrics/loss\x82\x01.([0-9.]+)')
    end = time.monotonic() + 60  # its own process writes the file
    while not (found := pattern.findall(file.read_bytes())) and time.monotonic() < end:
        time.sleep(0.1)
    return [json.loads(value) for value in found][:1]  # the summary repeats it


def test_a_logger_that_is_not_there_is_named(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"loggers must be among .* got 'tensorbord'"):
        TrainConfig('debug', str(tmp_path), str(tmp_path), loggers=('tensorbord',))
    monkeypatch.setitem(sys.modules, 'lightning.pytorch.loggers', None)
    config = TrainConfig('debug', str(tmp_path), str(tmp_path), loggers=('wandb',))
    with pytest.raises(ValueError, match='loggers: wandb needs a package'):
        RunFolder(config, Console(quiet=True), 0)


def test_a_logger_that_fails_does_not_end_the_run(tmp_path, capsys):
    class Gone:
        def log(self, name, values, step):
            raise ConnectionError('no server')

    folder = RunFolder(TrainConfig('debug', str(tmp_path), str(tmp_path)), Console(), 0)
    folder._loggers = (Gone(),)
    folder.log('metrics', {'loss': 1.0}, 1)
    folder.log('metrics', {'loss': 0.5}, 2)
    assert capsys.readouterr().out.count('Gone gets no more of this run: no server') == 1
    assert len((tmp_path / 'metrics.csv').read_text().splitlines()) == 3
