"""Temperatures that are known beforehand are found again, and a command writes them down."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from sam_ad_perception.modeling.zoo.entries import build_model, load_zoo
from training import calibrate as command
from training.evaluation.data import HeldBackDrives
from training.evaluation.selection import load_network
from training.evaluation.temperature_fit import TRIED, TemperatureFit, fit_set
from training.networks.checkpoint import export_weights

DEBUG = Path(__file__).parents[3] / 'training/configs/debug_zoo.yaml'


def drawn(generator, temperature, pixels=20_000, classes=7):
    """Logits, and whether the best class of each is one that was drawn from their softmax."""
    logits = 3 * torch.randn(classes, pixels, generator=generator)
    share = (logits / temperature).softmax(dim=0)
    truth = torch.multinomial(share.T, 1, generator=generator)[:, 0]
    return logits.numpy(), (logits.argmax(dim=0) == truth).numpy()


@pytest.mark.parametrize('temperature', [0.6, 1.0, 2.5])
def test_the_temperature_that_the_truth_was_drawn_with_is_found(temperature):
    generator = torch.Generator().manual_seed(3)
    fit, whole = TemperatureFit(), TemperatureFit()
    for target in (fit, whole, whole):
        target.update(*drawn(generator, temperature))
    fit.merge(whole)
    assert fit.frames == 3
    assert fit.best() == pytest.approx(temperature, rel=0.07)
    assert fit.at(fit.best()).error() < 0.01
    logits, _ = drawn(generator, temperature)
    alone = TemperatureFit()
    alone.update(logits, np.ones(logits.shape[1], bool))
    nearest = float(TRIED[np.abs(np.log(TRIED / 2.0)).argmin()])
    expected = (torch.from_numpy(logits) / nearest).softmax(dim=0).amax(dim=0)
    assert alone.at(2.0).mean() == pytest.approx(float(expected.mean()), abs=1e-3)
    assert alone.at(2.0).accuracy() == 1.0


def test_a_condition_of_few_frames_has_no_temperature_of_its_own():
    generator = torch.Generator().manual_seed(0)
    groups = {name: TemperatureFit() for name in ('day', 'night', '')}
    for name, frames, temperature in (('day', 4, 0.7), ('night', 3, 2.0), ('', 5, 1.0)):
        for _ in range(frames):
            groups[name].update(*drawn(generator, temperature))
    found = fit_set(('camera', 'lidar'), groups)
    assert found.fit.frames == 12
    assert found.row.subset == ('camera', 'lidar')
    assert found.row.conditions == {'day': pytest.approx(0.7, rel=0.07)}
    assert 0.7 < found.row.temperature < 2.0


def test_nothing_gives_no_temperature():
    with pytest.raises(ValueError, match='at least one frame, got none'):
        TemperatureFit().best()
    with pytest.raises(ValueError, match='differ in shape'):
        TemperatureFit().update(np.zeros((3, 4), np.float32), np.zeros(3, bool))


def test_the_command_writes_rows_that_the_zoo_takes(tmp_path, capsys):
    torch.manual_seed(0)
    weights = tmp_path / 'weights' / 'debug.safetensors'
    export_weights(build_model(load_zoo(DEBUG)['debug']).state_dict(), weights)
    out = tmp_path / 'out'
    arguments = [str(weights), '--zoo', str(DEBUG), '--frames', '1', '--conditions', 'day,night']
    command.main([*arguments, '--threads', '1', '--out', str(out)])
    assert 'debug: temperatures' in capsys.readouterr().out
    rows = yaml.safe_load((out / command.TEMPERATURES).read_text())['debug']['temperatures']
    assert len(rows) == 15
    assert rows[0]['subset'] == ['camera', 'thermal', 'event', 'lidar']
    zoo = yaml.safe_load(DEBUG.read_text())
    digest = load_network(str(weights), DEBUG, tmp_path).sha256
    zoo['models']['debug'] |= {'temperatures': rows, 'checkpoint': {'sha256': digest}}
    file = tmp_path / 'zoo.yaml'
    file.write_text(yaml.safe_dump(zoo))
    taken = load_network(str(weights), file, tmp_path).spec.temperatures
    assert [list(row.subset) for row in taken] == [row['subset'] for row in rows]
    assert taken[0].temperature == rows[0]['temperature']
    zoo['models']['debug']['checkpoint'] = {'sha256': 64 * '0'}
    file.write_text(yaml.safe_dump(zoo))
    assert load_network(str(weights), file, tmp_path).spec.temperatures == ()


def test_day_and_night_are_what_the_camera_takes_them_for():
    day, night = HeldBackDrives(1, ('day', 'night'))
    assert command.seeming_condition(day.bundle) == 'day'
    assert command.seeming_condition(night.bundle) == 'night'
    night.bundle.frames.pop('camera')
    assert command.seeming_condition(night.bundle) == ''
