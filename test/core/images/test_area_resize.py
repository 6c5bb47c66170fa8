"""Pictures shrunk by averaging, against OpenCV."""

import cv2
import numpy as np
import pytest

from sam_ad_perception.core.images.area_resize import shrink_picture


@pytest.mark.parametrize('size', [(64, 96), (65, 97), (123, 200), (200, 320), (270, 480), (1, 1)])
def test_it_equals_opencv_but_for_the_rounding_of_halves(size):
    image = np.random.default_rng(1).integers(0, 256, (271, 481, 3)).astype(np.uint8)
    expected = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    shrunk = shrink_picture(image, size)
    assert (shrunk.dtype, shrunk.shape) == (np.uint8, (*size, 3))
    assert np.abs(shrunk.astype(int) - expected).max() <= 1
    assert (shrunk != expected).mean() < 0.02


def test_whole_blocks_give_their_mean_also_of_a_view_with_gaps():
    image = np.random.default_rng(2).integers(0, 256, (60, 90, 3)).astype(np.uint8)
    flipped = image[:, ::-1]
    expected = np.rint(flipped.reshape(12, 5, 18, 5, 3).mean(axis=(1, 3)))
    np.testing.assert_array_equal(shrink_picture(flipped, (12, 18)), expected)
