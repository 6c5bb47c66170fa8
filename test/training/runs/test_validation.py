"""What a run is measured by is what drives: the entry's own output, through the vehicle's code."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch.nn import functional as F

from sam_ad_perception.modeling.inference.expert_network import ExpertNetwork
from training.frames.frame import Batch
from training.runs.batches import open_frames
from training.runs.folder import RunFolder
from training.runs.trainer import Trainer
from training.runs.validation import Validator, validation_data

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize('output', ['main', 'mean'])
def test_validation_sees_the_output_that_drives(camvid_run, tmp_path: Path, output: str):
    zoo = tmp_path / 'zoo.yaml'
    text = (ROOT / 'training/configs/debug_zoo.yaml').read_text()
    name = 'debug_mle_sam_copies'
    text = text.replace('decoder_per_modality: true', f'output: {output}\n      aux_scale: 4\n'
                        '      decoder_per_modality: true')  # fmt: skip
    text = re.sub(rf'({name}:.*?)\n      lidar: .*?\n', r'\1\n', text, flags=re.DOTALL)
    zoo.write_text(text)
    config = camvid_run({'train': 4, 'val': 3}, f'zoo={zoo}', f'model={name}')
    trainer = Trainer(config, Console(quiet=True))
    frames = open_frames(trainer.spec, config, validation_data(config)).source
    validator = Validator(trainer, frames, RunFolder(config, Console(quiet=True), 0))
    batch: Batch = frames.read([0])
    expert = ExpertNetwork(trainer.spec, trainer.average.network)
    with torch.no_grad():
        both = trainer.average.network(dict(batch.inputs), with_aux=True)
    main = F.interpolate(both.logits, both.aux_logits.shape[-2:], mode='bilinear')
    logits = 0.5 * (main + both.aux_logits) if output == 'mean' else both.logits
    driven = expert.backend.run(dict(batch.inputs)).logits
    torch.testing.assert_close(driven, logits, rtol=1e-4, atol=1e-5)
    size = batch.labels.shape[-2:]
    expected = F.interpolate(logits, size, mode='bilinear').argmax(1)[0]
    got = torch.from_numpy(validator._predict(batch))
    assert (got == expected).float().mean() > 0.999  # two ways to add up
    other = dataclasses.replace(trainer.spec.arguments, output='main')
    assert trainer.spec.mean_of_heads == (trainer.spec.arguments != other)
