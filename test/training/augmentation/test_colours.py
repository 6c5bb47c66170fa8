"""Colour changes held against torchvision's, step by step and together."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as F

from training.augmentation.colours import ColourChange, change_colours


def picture(seed: int) -> np.ndarray:
    """Patches of all colours with soft edges, as a camera takes them."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return cv2.resize(coarse, (96, 64), interpolation=cv2.INTER_CUBIC)


def by_torchvision(image: np.ndarray, change: ColourChange) -> np.ndarray:
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    tensor = F.adjust_brightness(tensor, change.brightness)
    tensor = F.adjust_contrast(tensor, change.contrast)
    tensor = F.adjust_saturation(tensor, change.saturation)
    return F.adjust_hue(tensor, change.hue).permute(1, 2, 0).numpy()


@given(
    seed=st.integers(0, 10_000),
    factors=st.tuples(*3 * [st.floats(0.5, 1.5)]),
    hue=st.floats(-0.5, 0.5),
)
def test_all_changes_together_are_those_of_torchvision(seed, factors, hue):
    image = picture(seed)
    change = ColourChange(*factors, hue)
    apart = np.abs(change_colours(image, change).astype(int) - by_torchvision(image, change))
    assert apart.mean() < 3  # hue and saturation have 8 bits each
    assert np.percentile(apart, 99) <= 12


@pytest.mark.parametrize('field', ['brightness', 'contrast', 'saturation'])
@pytest.mark.parametrize('factor', [0.0, 0.6, 1.0, 1.4])
def test_a_change_of_one_kind_is_right_to_one_grey_level(field, factor):
    image = picture(3)
    change = ColourChange(**{field: factor})
    apart = np.abs(change_colours(image, change).astype(int) - by_torchvision(image, change))
    assert apart.max() <= 1


def test_no_change_keeps_every_pixel():
    image = picture(4)
    np.testing.assert_array_equal(change_colours(image, ColourChange()), image)
