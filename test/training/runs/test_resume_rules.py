"""Runs that can be trusted: what may change on resume, and what ends a run."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from training import evaluate
from training.networks.checkpoint import load_run
from training.runs import trainer as trainer_module
from training.runs.failures import TrainingError
from training.runs.label_watch import PATIENCE

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / 'training/configs/debug_camvid.yaml'
ZOO = ROOT / 'training/configs/debug_zoo.yaml'
SIZE = (32, 48)


def camvid(root: Path, counts: dict[str, int], seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for split, count in counts.items():
        for folder, top, shape in ((split, 256, (*SIZE, 3)), (f'{split}annot', 11, SIZE)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            for k in range(count):
                image = rng.integers(0, top, shape, dtype=np.uint8)
                Image.fromarray(image).save(root / folder / f'{k:02d}.png')
    return root


@pytest.fixture
def run(tmp_path, run_main):
    """Runs the training command on a small CamVid; gives its exit code."""
    camvid(tmp_path / 'camvid', {'train': 12, 'val': 3})

    def start(*more: str, out: str = 'run') -> int:
        plain = 'augmentation={vary: false}'
        words = [
            f'zoo={ZOO}', f'root={tmp_path}/camvid', 'data.partial=true', f'cache_dir={tmp_path}',
            f'output_dir={tmp_path}/{out}', 'validation.steps=0', 'machine.accelerator=cpu', plain,
            'loss={focal: 0.0, dice: 0.0, stride: 4}', 'schedule.batch_size=2', *more,
        ]  # fmt: skip
        return run_main(CONFIG, words)

    return start


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / 'metrics.csv').open(newline='') as file:
        return list(csv.DictReader(file))


def test_a_larger_batch_sees_as_many_frames_as_were_announced(run, tmp_path, capsys):
    assert run('schedule.epochs=1') == 0
    assert run('schedule.epochs=2', 'schedule.batch_size=4') == 0
    said = ' '.join(capsys.readouterr().out.split())
    assert '12 frames were seen, 2 a step; 3 steps of 4 follow' in said
    assert 'schedule.batch_size was 2, is 4' in said
    state = load_run(tmp_path / 'run/run.pt')
    assert (state['step'], state['seen']) == (9, 24)
    assert [int(row['step']) for row in rows(tmp_path / 'run')] == list(range(1, 10))
    assert float(rows(tmp_path / 'run')[-1]['epoch']) == 2.0


def test_new_settings_of_the_optimizer_count(run, tmp_path):
    weights = {}
    for number, more in enumerate(
        ([], ['optimizer.weight_decay=0.9'], ['optimizer.betas=[0.5, 0.6]'])
    ):
        out = f'run{number}'
        assert run('schedule.steps=2', out=out) == 0
        assert run('schedule.steps=6', *more, out=out) == 0
        state = load_run(tmp_path / out / 'run.pt')
        weights[number] = torch.cat([t.flatten().float() for t in state['network'].values()])
        groups = state['optimizer']['param_groups']
        if number == 1:
            assert {group['weight_decay'] for group in groups} == {0.0, 0.9}
        if number == 2:
            assert all(tuple(group['betas']) == (0.5, 0.6) for group in groups)
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_what_a_run_cannot_change_is_refused_by_name(run, tmp_path, capsys):
    assert run('schedule.steps=2') == 0
    before = (tmp_path / 'run/config.yaml').read_text()
    assert run('schedule.steps=4', 'optimizer.name=adam') == 2
    said = ' '.join(capsys.readouterr().err.split())
    assert 'optimizer.name was adamw, is adam' in said
    assert 'resume.allow=[optimizer.name]' in said
    assert (tmp_path / 'run/config.yaml').read_text() == before
    assert run('schedule.steps=4', 'optimizer.name=adam', 'resume.allow=[optimizer.name]') == 0
    assert (
        yaml.safe_load((tmp_path / 'run/config.yaml').read_text())['optimizer']['name'] == 'adam'
    )


def test_a_finished_run_is_not_taken_for_one_of_other_data_or_settings(run, tmp_path, capsys):
    assert run('schedule.steps=2') == 0
    before = (tmp_path / 'run/config.yaml').read_text()
    assert run('schedule.steps=2', 'optimizer.lr=1.0e-5') == 2
    assert 'holds a finished run of another configuration: optimizer.lr' in capsys.readouterr().err
    other = camvid(tmp_path / 'other', {'train': 6, 'val': 2}, seed=1)
    for steps in (2, 4):
        assert run(f'schedule.steps={steps}', f'root={other}') == 2
        assert 'it has learned from other frames' in capsys.readouterr().err
    assert (tmp_path / 'run/config.yaml').read_text() == before
    assert run('schedule.steps=2') == 0  # nothing is asked for that it does not have


@pytest.mark.parametrize('clip', ['1.0', '0.0'])
def test_a_gradient_that_is_not_a_number_is_never_saved(run, tmp_path, capsys, monkeypatch, clip):
    real, calls = trainer_module.total_loss, []

    def spoilt(output, *rest):
        calls.append(1)
        loss = real(output, *rest)
        extra = output.logits.float().mul(0).sum().sqrt() * 0  # finite, its gradient is not
        return loss + extra if len(calls) == 4 else loss

    monkeypatch.setattr(trainer_module, 'total_loss', spoilt)
    assert run('schedule.steps=8', f'optimizer.clip={clip}') == 1
    assert 'the gradient is nan at step 3' in capsys.readouterr().err
    state = load_run(tmp_path / 'run/run.pt')
    assert state['step'] == 3
    for part in ('network', 'average'):
        assert all(bool(tensor.isfinite().all()) for tensor in state[part].values())


def test_a_damaged_validation_frame_is_named_and_left_out(run, tmp_path, capsys, monkeypatch):
    path = tmp_path / 'camvid/val/01.png'
    path.write_bytes(path.read_bytes()[:200])
    more = ['schedule.steps=4', 'validation.steps=2', 'validation.frames=3']
    assert run(*more) == 1
    assert 'val/01.png is damaged' in capsys.readouterr().err
    assert run(*more, 'data.skip_damaged=true', out='two') == 0
    assert 'val/01.png is damaged' in ' '.join(capsys.readouterr().out.split())
    assert len(list((tmp_path / 'two/best').iterdir())) == 2
    words = ['evaluate', str(tmp_path / 'two'), 'camvid', '--root', str(tmp_path / 'camvid')]
    words += ['--partial', '--zoo', str(ZOO), '--out', str(tmp_path / 'figures')]
    monkeypatch.setattr('sys.argv', [*words, '--threads', '1'])
    evaluate.main()
    said = ' '.join(capsys.readouterr().out.split())
    assert 'left out:' in said
    assert 'val/01.png is damaged' in said
    assert 'on cpu with 1 threads' in said
    page = (tmp_path / 'figures/index.html').read_text()
    assert 'on cpu with 1 threads' in page
    assert '1 frames that cannot be read' in page
    with (tmp_path / 'figures/measurements.csv').open() as file:
        assert next(csv.DictReader(file))['frames'] == '2'


def test_a_run_without_one_label_ends(run, tmp_path, capsys, camvid_run):
    for path in (tmp_path / 'camvid/trainannot').iterdir():
        Image.fromarray(np.full(SIZE, 11, np.uint8)).save(path)
    assert run('schedule.steps=4') == 1
    assert 'train: no pixel of the 12 frames that were read has a label' in capsys.readouterr().err
    assert not (tmp_path / 'run/run.pt').exists()


def test_a_class_that_never_occurs_is_told(run, tmp_path, capsys):
    for path in (tmp_path / 'camvid/trainannot').iterdir():
        Image.fromarray(np.full(SIZE, 3, np.uint8)).save(path)
    assert run('schedule.steps=1') == 0
    said = ' '.join(capsys.readouterr().out.split())
    assert 'train: no pixel of 12 frames is of Sky, Building' in said
    assert 'no pixel of 1 batches was of sidewalk' in said


def test_patience_with_batches_without_labels_ends(run):
    from sam_ad_perception.core.labels import LABEL_SPACES
    from training.frames.frame import Batch
    from training.runs.batches import DrawnBatch
    from training.runs.label_watch import LabelWatch

    watch = LabelWatch(LABEL_SPACES['camvid'])
    batch = Batch({}, torch.full((1, 4, 4), 255))
    for number in range(PATIENCE):
        watch.check(number)
        watch.take(DrawnBatch(batch, number, (0,)))
    with pytest.raises(TrainingError, match='no pixel of 20 batches has a label of camvid'):
        watch.check(PATIENCE)
