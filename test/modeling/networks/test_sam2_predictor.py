"""MLE-SAM with one sensor and no adapters is the official image predictor of SAM 2."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from sam2.build_sam import build_sam2
from sam2.sam2_image_predictor import SAM2ImagePredictor

from sam_ad_perception.core.label_files import label_space_from
from sam_ad_perception.modeling.networks.mle_sam import MleSam
from sam_ad_perception.modeling.zoo.checkpoints import load_sam2
from sam_ad_perception.modeling.zoo.entries import build_model, load_zoo

ROOT = Path(__file__).parents[3]
SIDE = 256
FRESH = ('mask_tokens.', 'output_hypernetworks_mlps.', 'iou_prediction_head.')
"""What there is one of per class; with SAM 2's own three masks it takes SAM 2's own weights."""


@pytest.fixture(scope='module')
def official(tmp_path_factory) -> tuple[SAM2ImagePredictor, Path]:
    """The official predictor of SAM 2.1 tiny with random weights, and its file."""
    torch.manual_seed(4)
    config = 'configs/sam2.1/sam2.1_hiera_t.yaml'
    model = build_sam2(config, device='cpu', hydra_overrides_extra=[f'++model.image_size={SIDE}'])
    torch.nn.init.normal_(model.no_mem_embed, std=0.5)  # large enough to be missed
    path = tmp_path_factory.mktemp('sam2') / 'tiny.pt'
    torch.save({'model': model.state_dict()}, path)
    predictor = SAM2ImagePredictor(model)
    predictor._bb_feat_sizes = [(SIDE // s, SIDE // s) for s in (4, 8, 16)]
    return predictor, path


def predict(predictor: SAM2ImagePredictor, image: np.ndarray) -> torch.Tensor:
    """Logits (3, h, w) of an image without a prompt: one padding point."""
    predictor.set_image(image)
    padding = torch.zeros(1, 1, 2), -torch.ones(1, 1, dtype=torch.int)
    with torch.no_grad():
        _, _, logits = predictor._predict(*padding, multimask_output=True, return_logits=True)
    return logits[0]


def network_of(path: Path, *, copies: bool, still_image: bool) -> MleSam:
    """The paper's entry for a camera alone with three classes, without adapters."""
    spec = load_zoo(ROOT / 'models/zoo.yaml')['mle_sam_paper']
    arguments = dataclasses.replace(
        spec.arguments,
        encoder='tiny',
        lora=dataclasses.replace(spec.arguments.lora, rank=0),
        decoder_per_modality=copies,
        still_image=still_image,
        trained=(),
    )
    space = label_space_from({'names': ['a', 'b', 'c']}, 'three', 'here')
    inputs = {'camera': spec.inputs['camera']}
    spec = dataclasses.replace(
        spec, arguments=arguments, inputs=inputs, input_size=(SIDE, SIDE), space=space
    )
    network = build_model(spec)
    assert isinstance(network, MleSam)
    load_sam2(path, network)
    heads = network.decoder.heads['camera'] if copies else network.decoder
    theirs = torch.load(path, weights_only=True)['model']
    for name, tensor in heads.state_dict().items():
        if name.startswith(FRESH):
            tensor.copy_(theirs[f'sam_mask_decoder.{name}'])
    return network.eval()


@pytest.mark.parametrize('copies', [False, True])
def test_the_logits_are_those_of_the_official_predictor(official, copies, rng):
    predictor, path = official
    image = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    expected = predict(predictor, image)
    network = network_of(path, copies=copies, still_image=True)
    form = load_zoo(ROOT / 'models/zoo.yaml')['mle_sam_paper'].inputs['camera']
    mean, std = (np.array(v, np.float32) for v in (form.mean, form.std))
    pixels = torch.from_numpy((image / np.float32(255) - mean) / std).permute(2, 0, 1)[None]
    with torch.no_grad():
        logits = network({'camera': pixels}, with_aux=False).logits[0]
        without = network_of(path, copies=copies, still_image=False)(
            {'camera': pixels}, with_aux=False
        ).logits[0]
    torch.testing.assert_close(
        logits, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max())
    )
    assert float((without - expected).abs().max()) > 0.05 * float(expected.abs().max())


def test_the_auxiliary_logits_are_as_large_as_the_input(official):
    """Eq. 12: every level goes to the common size in one step, and both heads count."""
    network = network_of(official[1], copies=True, still_image=True)
    with torch.no_grad():
        output = network({'camera': torch.randn(1, 3, SIDE, SIDE)})
    assert output.logits.shape[-2:] == (SIDE // 4, SIDE // 4)
    assert output.aux_logits.shape[-2:] == (SIDE, SIDE)
