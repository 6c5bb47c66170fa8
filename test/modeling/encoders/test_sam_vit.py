from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from segment_anything.modeling import ImageEncoderViT
from torch import nn

from benchmarks.networks.official import official_encoder
from sam_ad_perception.modeling.encoders import sam_vit
from sam_ad_perception.modeling.encoders.sam_vit import SamVit, resize_position
from sam_ad_perception.modeling.encoders.specs import SAM_VIT_SPECS, SamVitSpec


def official(spec: SamVitSpec) -> ImageEncoderViT:
    return official_encoder(spec).eval()


def randomise(module: nn.Module) -> None:
    """Give positions real values: the official initialisation leaves them zero."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if 'pos' in name:
                parameter.normal_(std=0.2, generator=generator)


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got - expected).norm() / expected.norm())


def compare(spec: SamVitSpec, size: tuple[int, int]) -> float:
    torch.manual_seed(0)
    theirs = official(spec)
    randomise(theirs)
    ours = SamVit(spec).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    grid = (size[0] // 16, size[1] // 16)
    theirs.pos_embed = nn.Parameter(resize_position(theirs.pos_embed.detach(), grid))
    image = torch.randn(1, 3, *size)
    with torch.inference_mode():
        return relative_error(ours(image), theirs(image))


@pytest.mark.slow
def test_blocks_of_vit_b_equal_the_official_ones_at_1024():
    """One of each kind at the size of pre-training; all twelve are compared at a smaller one."""
    blocks = replace(SAM_VIT_SPECS['vit_b'], depth=2, global_blocks=(1,))
    assert compare(blocks, (1024, 1024)) < 1e-4


def test_vit_b_equals_the_official_module_at_a_non_square_size():
    assert compare(SAM_VIT_SPECS['vit_b'], (160, 288)) < 1e-4


@pytest.mark.parametrize('elements', [1, 3000, 1 << 30])
def test_slicing_the_queries_does_not_change_the_result(elements, monkeypatch):
    monkeypatch.setattr(sam_vit, 'BIAS_ELEMENTS', elements)
    assert compare(SAM_VIT_SPECS['micro'], (96, 160)) < 1e-5


def test_gradients_equal_the_official_ones():
    spec = SAM_VIT_SPECS['micro']
    theirs = official(spec)
    randomise(theirs)
    ours = SamVit(spec, checkpoint_blocks=True)
    ours.load_state_dict(theirs.state_dict())
    image = torch.randn(2, 3, 128, 128)
    target = torch.randn(2, 64, 8, 8)
    for encoder in (ours, theirs):
        (encoder(image) * target).sum().backward()
    for (name, mine), theirs_ in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs_.grad, rtol=1e-3, atol=1e-3, msg=name)


@pytest.mark.parametrize(
    ('name', 'count'), [('vit_b', 89_670_912), ('vit_l', 308_278_272), ('vit_h', 637_026_048)]
)
def test_paper_sizes_have_the_official_keys_and_counts(name, count):
    with torch.device('meta'):
        ours = SamVit(SAM_VIT_SPECS[name])
        theirs = official(SAM_VIT_SPECS[name])
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: v.shape for k, v in theirs.state_dict().items()
    }
    assert sum(p.numel() for p in ours.parameters()) == count


def test_positions_are_resized_as_opencv_resizes():
    grid = torch.randn(1, 16, 16, 4, generator=torch.Generator().manual_seed(3))
    expected = cv2.resize(grid[0].numpy(), (24, 10), interpolation=cv2.INTER_CUBIC)
    got = resize_position(grid, (10, 24))[0]
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-5)


def test_half_precision_keeps_the_result_close_and_the_type():
    torch.manual_seed(0)
    encoder = SamVit(SAM_VIT_SPECS['small']).eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        full = encoder(image)
        encoder.freeze(torch.bfloat16)
        half = encoder(image)
    assert half.dtype == torch.float32
    assert next(encoder.parameters()).dtype == torch.bfloat16
    assert 0 < relative_error(half, full) < 0.03
    assert not any(p.requires_grad for p in encoder.parameters())


def test_refuses_a_size_that_is_not_a_multiple_of_32():
    with pytest.raises(ValueError, match='multiples of 32, got 64x80'):
        SamVit(SAM_VIT_SPECS['micro'])(torch.zeros(1, 3, 64, 80))


def test_refuses_fields_out_of_range():
    with pytest.raises(ValueError, match='embed_dim 10 is not a multiple of num_heads 4'):
        SamVitSpec(10, 2, 4, ())
    with pytest.raises(ValueError, match=r'global_blocks must lie in 0..1, got \(2,\)'):
        SamVitSpec(16, 2, 4, (2,))
    with pytest.raises(ValueError, match='pretrain_size must be a multiple of 32, got 100'):
        SamVitSpec(16, 2, 4, (1,), pretrain_size=100)
