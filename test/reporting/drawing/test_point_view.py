import numpy as np

from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.reporting.drawing.point_view import DIM, EYE, PITCH, picture_points

SPACE = LABEL_SPACES['cityscapes']
SIZE = (150, 480)


def _where(picture, color):
    return np.argwhere((picture == color).all(axis=2))


def test_left_is_left_and_near_is_low():
    points = np.array([[10, 5, -1.8], [10, -5, -1.8], [30, 0, -1.8]], np.float32)
    picture = picture_points(points, np.array([13, 11, 0], np.uint8), SPACE, SIZE)
    left, right, far = (_where(picture, SPACE.palette[i]).mean(axis=0) for i in (13, 11, 0))
    assert left[1] < SIZE[1] / 2 < right[1]
    assert left[0] > far[0]
    assert abs(far[1] - SIZE[1] / 2) <= 1


def test_the_nearer_point_hides_the_farther_and_unlabelled_ones_hide_nothing():
    # One ray, which meets the picture well inside a pixel.
    ahead = np.array([np.cos(PITCH + 0.0015), 0.0015, -np.sin(PITCH + 0.0015)])
    points = (np.array(EYE) + np.outer([20.0, 15.0, 10.0], ahead)).astype(np.float32)
    picture = picture_points(points, np.array([13, 11, 255], np.uint8), SPACE, SIZE)
    assert len(_where(picture, SPACE.palette[11])) == 4
    assert len(_where(picture, SPACE.palette[13])) == 0
    alone = picture_points(points[2:], np.array([255], np.uint8), SPACE, SIZE)
    assert len(_where(alone, DIM)) == 4


def test_points_behind_and_an_empty_cloud_draw_nothing_more():
    nothing = np.zeros((0, 3), np.float32), np.zeros(0, np.uint8)
    empty = picture_points(*nothing, SPACE, SIZE)
    behind = np.array([[-50, 0, 0]], np.float32)
    assert np.array_equal(picture_points(behind, np.array([13], np.uint8), SPACE, SIZE), empty)
