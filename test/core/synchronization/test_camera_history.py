"""Which camera_info describes an image: of its stamp, else the last before it, never a later."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sam_ad_perception.core.geometry.lens import lens_problem, without_lens
from sam_ad_perception.core.sensors import CameraModel
from sam_ad_perception.core.synchronization.camera_history import MOST_INFOS, CameraHistory

MS = 1_000_000
T0 = 1_700_000_000_000 * MS
SIZE = (200, 320)


def camera(focal=200.0, size=SIZE, **changes):
    height, width = size
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return CameraModel(width, height, K, frame_id='cam', **changes)


def history(*infos):
    made = CameraHistory()
    for stamp_ms, model in infos:
        made.add(model, T0 + round(stamp_ms * MS))
    return made


def focal(choice):
    return float(choice.camera.K[0, 0])


@pytest.mark.parametrize('order', [1, -1])
def test_zoom_gives_each_image_its_own_intrinsics_in_whatever_order_they_come(order):
    infos = [(33 * i, camera(200 + 2 * i)) for i in range(60)]
    zoom = history(*infos[::order])
    for i in range(60):
        choice = zoom.choose(T0 + 33 * i * MS, SIZE)
        assert (focal(choice), choice.note) == (200 + 2 * i, '')


def test_image_between_two_infos_takes_the_earlier_and_says_so():
    choice = history((0, camera(200)), (33, camera(204))).choose(T0 + 32 * MS, SIZE)
    assert focal(choice) == 200
    assert choice.note == 'no camera_info has its stamp, that of 32.0 ms before is used'


def test_later_info_is_taken_only_while_all_are_equal():
    assert focal(history((5, camera()), (38, camera())).choose(T0, SIZE)) == 200
    assert history((5, camera()), (38, camera(202))).choose(T0, SIZE) is None


def test_info_that_was_published_once_holds_without_a_word():
    choice = history((0, camera())).choose(T0 + 3_600_000 * MS, SIZE)
    assert (focal(choice), choice.note) == (200, '')


def test_equal_infos_give_one_model_so_that_what_is_computed_from_it_is_kept():
    many = history(*((i, camera()) for i in range(9)))
    assert many.choose(T0, SIZE).camera is many.choose(T0 + 8 * MS, SIZE).camera


@pytest.mark.parametrize(
    ('odd', 'told'),
    [
        (camera(20), 'focal length fx 20 px after 200 px'),
        (camera(2000), 'focal length fx 2000 px after 200 px'),
        (camera(size=(100, 160)), 'it says 160x100 pixels, its image is 320x200'),
        (without_lens(camera(), 'CameraInfo.k is all zeros'), 'CameraInfo.k is all zeros'),
    ],
)
def test_one_odd_info_is_left_out_alone(odd, told):
    infos = [(33 * i, odd if i == 5 else camera()) for i in range(10)]
    made = history(*infos)
    for i in range(10):
        choice = made.choose(T0 + 33 * i * MS, SIZE)
        assert focal(choice) == 200
        assert choice.note == (
            f'its camera_info is left out: {told}; that of 33.0 ms before is used'
            if i == 5
            else ''
        )


def test_change_that_stays_is_taken_from_its_second_info_on():
    made = history(*((33 * i, camera(200 if i < 5 else 300)) for i in range(10)))
    focals = [focal(made.choose(T0 + 33 * i * MS, SIZE)) for i in range(10)]
    assert focals == [200] * 6 + [300] * 4


def test_change_of_resolution_goes_with_the_images():
    made = history(*((33 * i, camera(size=SIZE if i < 5 else (400, 640))) for i in range(10)))
    sizes = [
        made.choose(T0 + 33 * i * MS, SIZE if i < 5 else (400, 640)).camera.size for i in range(10)
    ]
    assert sizes == [SIZE] * 5 + [(400, 640)] * 5


def test_image_of_the_same_aspect_scales_the_intrinsics():
    made = history((0, camera(size=(400, 640))))
    choice = made.choose(T0, SIZE)
    assert choice.camera.size == SIZE
    np.testing.assert_allclose(choice.camera.K[:2, 2], [159.75, 99.75])
    assert focal(choice) == 100
    assert choice.note == (
        'its camera_info is of 640x400 pixels, its image of 320x200: K is scaled'
    )
    assert made.choose(T0 + MS, SIZE).camera is choice.camera


def test_image_of_another_aspect_is_used_without_a_lens():
    choice = history((0, camera(size=(480, 640)))).choose(T0, SIZE)
    assert choice.camera.size == SIZE
    assert 'its camera_info says 640x480' in choice.camera.unknown_lens


def test_odd_image_among_others_is_at_fault_itself():
    made = history((0, camera()))
    made.choose(T0, SIZE)
    assert made.choose(T0 + MS, (20, 320)).camera.size == SIZE


def test_configured_camera_serves_where_the_info_has_no_lens():
    made = history((0, without_lens(camera(), 'CameraInfo.k is all zeros')))
    made.add(camera(210))
    assert focal(made.choose(T0, SIZE)) == 210


def test_info_without_a_frame_takes_that_of_the_image():
    made = history((0, replace(camera(), frame_id='')))
    assert made.choose(T0, SIZE, 'optical').camera.frame_id == 'optical'
    assert history((0, camera())).choose(T0, SIZE, 'optical').camera.frame_id == 'cam'


@pytest.mark.parametrize(
    'D',
    [
        [-30.0, 0, 0, 0, 0],
        [1e200, -1e200, 0, 0, 0],
        [0, 0, 0, 0, 0, 1e300, 0, 0],
        [0, 0, 5e3, -5e3, 0],
        [0.0] * 12 + [1.5707963267948966, 0],
    ],
)
def test_lens_that_cannot_be_inverted_is_unknown_and_told(D):
    kind = 'plumb_bob' if len(D) < 8 else 'rational_polynomial'
    choice = history((0, camera(D=np.array(D), distortion_model=kind))).choose(T0, SIZE)
    assert choice.camera.size == SIZE
    assert f'its {kind} terms' in choice.camera.unknown_lens


def test_lenses_in_use_are_no_problem():
    assert lens_problem(camera()) == ''
    assert lens_problem(camera(D=np.array([-0.35, 0.15, 0.001, 0, -0.03]))) == ''
    fisheye = CameraModel(
        1920,
        1080,
        np.array([[255.0, 0, 960], [0, 255, 540], [0, 0, 1]]),
        np.array([0.03, -0.02, 0.01, -0.003]),
        'equidistant',
    )
    assert lens_problem(fisheye) == ''


def test_own_info_is_awaited_only_where_it_matters():
    made = history(*((33 * i, camera(200 + i)) for i in range(3)))
    made.choose(T0 + 66 * MS, SIZE)
    assert made.awaits(T0 + 99 * MS)
    made.add(camera(203), T0 + 99 * MS)
    assert not made.awaits(T0 + 99 * MS)
    constant = history(*((33 * i, camera()) for i in range(3)))
    constant.choose(T0, SIZE)
    assert not constant.awaits(T0 + 99 * MS)


def test_memory_is_bounded():
    made = history(*((i, camera(200 + i % 2)) for i in range(MOST_INFOS + 10)))
    assert len(made._stamps) <= MOST_INFOS
    assert focal(made.choose(T0 + (MOST_INFOS + 9) * MS, SIZE)) == 201
