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
from sam_ad_perception.modeling.inference.expert_network import ExpertNetwork
from sam_ad_perception.modeling.inference.masks import (
    LogitsError,
    decode_there,
    mask_from_logits,
)
from sam_ad_perception.modeling.inference.segmenter import Segmenter


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


@settings(max_examples=40, deadline=None)
@given(
    classes=st.integers(2, 40),
    grid=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    size=st.tuples(st.integers(1, 110), st.integers(1, 90)),
    spread=st.sampled_from([1.0, 10.0, 60.0]),
    temperature=st.sampled_from([0.3, 0.77, 1.0, 1.6, 5.0]),
    seed=st.integers(0, 999),
)
def test_a_temperature_changes_the_confidence_and_no_mask(
    classes, grid, size, spread, temperature, seed
):
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(classes, *grid, generator=generator)
    up = F.interpolate(logits[None].double(), size, mode='bilinear')[0]
    expected = 255 * (up / temperature).softmax(dim=0).amax(dim=0).numpy()
    plain, _ = mask_from_logits(logits.numpy(), view(size))
    mask, confidence = mask_from_logits(logits.numpy(), view(size), temperature=temperature)
    np.testing.assert_array_equal(mask, plain)
    assert np.abs(confidence - expected).max() < 1.6
    there, _ = decode_there(logits, size)
    mask, confidence = decode_there(logits, size, temperature=temperature)
    np.testing.assert_array_equal(mask, there)
    assert np.abs(confidence - expected).max() < 1


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('confident', [False, True])
def test_one_value_that_is_no_number_is_refused_both_ways(value, confident):
    logits = torch.zeros(4, 8, 8)
    logits[2, 7, 3] = value
    with pytest.raises(LogitsError, match='hold NaN or infinity'):
        decode_there(logits, (10, 20), confident=confident)
    with pytest.raises(LogitsError, match='hold NaN or infinity'):
        mask_from_logits(logits.numpy(), view((10, 20)), confident=confident)


def test_equal_logits_take_the_first_class_with_equal_share():
    mask, confidence = decode_there(torch.zeros(4, 8, 8), (10, 20))
    assert not mask.any()
    assert set(np.unique(confidence)) == {64}  # 255 / 4, rounded


@pytest.mark.parametrize('space', ['cityscapes', 'camvid'])
def test_the_segmenter_gives_the_same_masks_both_ways(spec, network, bundle, space):
    expert = ExpertNetwork(spec, network)
    segmenter = Segmenter([expert])
    expert.set_label_space(LABEL_SPACES[space])
    (expected,) = segmenter.segment([bundle])
    expert.on_device = True
    (got,) = segmenter.segment([bundle])
    np.testing.assert_array_equal(got.mask, expected.mask)
    assert np.abs(got.confidence.astype(int) - expected.confidence).max() <= 1
    # one more thing runs on "the device": the last bits may differ
    assert got.gate == pytest.approx(expected.gate, abs=1e-6)
    assert got.latency_s.keys() == expected.latency_s.keys()
