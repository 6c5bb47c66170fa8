"""Masks made where the network ran are those of the host; torch on a CPU stands in for a GPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.sensors import CameraModel
from sam_ad_perception.modeling.device_masks import decode_there
from sam_ad_perception.modeling.expert_network import ExpertNetwork
from sam_ad_perception.modeling.preprocessing import mask_from_logits
from sam_ad_perception.modeling.segmenter import Segmenter


def view(size: tuple[int, int]) -> CameraModel:
    return CameraModel(size[1], size[0], np.eye(3))


@settings(max_examples=60, deadline=None)
@given(
    classes=st.integers(1, 254),
    grid=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    spread=st.sampled_from([1.0, 10.0, 60.0]),
    chunk_bytes=st.sampled_from([1, 20_000, 1 << 28]),
    seed=st.integers(0, 999),
)
def test_mask_and_confidence_are_those_of_the_host(classes, grid, size, spread, chunk_bytes, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(classes, *grid, generator=generator)
    expected, share = mask_from_logits(logits.numpy(), view(size))
    mask, confidence = decode_there(logits, size, chunk_bytes=chunk_bytes)
    assert mask.dtype == confidence.dtype == np.uint8
    up = F.interpolate(logits[None], size, mode='bilinear')[0]
    best = up.topk(min(2, classes), dim=0).values
    clear = ((best[0] - best[-1]) > 1e-4 * spread).numpy() | (classes == 1)
    np.testing.assert_array_equal(mask[clear], expected[clear])
    assert np.abs(confidence.astype(int) - share).max() <= 1
    alone, nothing = decode_there(logits, size, confident=False, chunk_bytes=chunk_bytes)
    np.testing.assert_array_equal(alone, mask)
    assert nothing.size == 0


def test_equal_logits_take_the_first_class_with_equal_share():
    mask, confidence = decode_there(torch.zeros(4, 8, 8), (10, 20))
    assert not mask.any()
    assert set(np.unique(confidence)) == {64}  # 255 / 4, rounded


@pytest.mark.parametrize('space', ['cityscapes', 'camvid'])
def test_the_segmenter_gives_the_same_masks_both_ways(spec, network, bundle, space):
    expert = ExpertNetwork(spec, network)
    segmenter = Segmenter([expert])
    expert.speak(LABEL_SPACES[space])
    (expected,) = segmenter.segment([bundle])
    expert.on_device = True
    (got,) = segmenter.segment([bundle])
    np.testing.assert_array_equal(got.mask, expected.mask)
    assert np.abs(got.confidence.astype(int) - expected.confidence).max() <= 1
    assert got.gate == expected.gate
    assert got.latency_s.keys() == expected.latency_s.keys()
