import cv2
import numpy as np
import pytest

from sam_ad_perception.reporting.drawing.pictures import (
    CAPTION_HEIGHT,
    Tile,
    Video,
    compose_tiles,
    encode_jpeg,
)


def test_tiles_stand_in_reading_order_and_keep_their_aspect():
    red, green = np.zeros((20, 20, 3), np.uint8), np.zeros((10, 40, 3), np.uint8)
    red[..., 0] = green[..., 1] = 200
    sheet = compose_tiles([Tile('a', red), Tile('b', None), Tile('c', green)], 2, (40, 80))
    assert sheet.shape == (2 * (40 + CAPTION_HEIGHT), 160, 3)
    upper, lower = sheet[CAPTION_HEIGHT:40, :80], sheet[-40:, :80]
    # A square fills the height of a 40x80 tile, a 1:4 strip its width.
    assert np.count_nonzero((upper == [200, 0, 0]).all(2)[5]) == 40
    assert np.count_nonzero((lower == [0, 200, 0]).all(2)[:, 40]) == 20
    assert not (sheet[:, 80:] == [200, 0, 0]).all(2).any()


def test_tiles_need_a_column():
    with pytest.raises(ValueError, match='0 columns'):
        compose_tiles([Tile('a', None)], 0)


def test_the_video_plays_back_what_was_added(tmp_path):
    video = Video(tmp_path / 'drive.webm', 10.0)
    for level in (40, 120, 200):
        video.add(np.full((64, 96, 3), level, np.uint8))
    assert video.close()[:4] == b'\x1aE\xdf\xa3'  # EBML, the container of WebM
    capture = cv2.VideoCapture(str(tmp_path / 'drive.webm'))
    levels = []
    while (frame := capture.read())[0]:
        levels.append(frame[1].mean())
    assert np.allclose(levels, (40, 120, 200), atol=6)


def test_a_video_without_pictures_is_no_video(tmp_path):
    assert Video(tmp_path / 'none.webm', 10.0).close() is None


def test_jpeg_keeps_the_channels_apart():
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[..., 0] = 250
    decoded = cv2.imdecode(np.frombuffer(encode_jpeg(picture), np.uint8), cv2.IMREAD_COLOR)
    assert decoded[16, 16, 2] > 240
    assert decoded[16, 16, 0] < 12
