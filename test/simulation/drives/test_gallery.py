"""The gallery shows every condition and every fault, and shows what it is given."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from sam_ad_perception.core.sensors import Events, PointCloud
from sam_ad_perception.simulation.drives.configuration import DriveConfig
from sam_ad_perception.simulation.drives.gallery import TILE, draw, write_gallery
from sam_ad_perception.simulation.faults.effects import KINDS, TRANSPORT
from sam_ad_perception.simulation.weather.conditions import CONDITIONS


def test_gallery_has_a_row_per_condition_and_a_tile_per_fault(tmp_path: Path) -> None:
    config = DriveConfig(seed=3, size=(64, 96), thermal_size=(32, 48), event_size=(32, 48))
    write_gallery(tmp_path / 'new' / 'gallery.png', config)
    image = cv2.imread(str(tmp_path / 'new' / 'gallery.png'))
    tiles = sum(len(f.modalities) for kind, f in KINDS.items() if kind not in TRANSPORT)
    rows = len(CONDITIONS) + 1 + -(-tiles // 4)
    assert image.shape == (rows * TILE[0], 4 * TILE[1], 3)
    # Under the titles no two conditions look alike to the camera.
    cells = [
        image[r * TILE[0] + 30 : (r + 1) * TILE[0], : TILE[1]] for r in range(len(CONDITIONS))
    ]
    for i, a in enumerate(cells):
        for b in cells[i + 1 :]:
            assert np.abs(a.astype(int) - b).mean() > 2


def test_gallery_is_as_small_as_its_name_says(tmp_path: Path) -> None:
    config = DriveConfig(seed=3, size=(64, 96), thermal_size=(32, 48), event_size=(32, 48))
    for name in ('gallery.png', 'gallery.jpg'):
        write_gallery(tmp_path / name, config)
    exact, close = (cv2.imread(str(tmp_path / name)) for name in ('gallery.png', 'gallery.jpg'))
    assert np.abs(exact.astype(int) - close).mean() < 10
    with pytest.raises(ValueError, match=r'gallery must end in \.png or \.jpg, got'):
        write_gallery(tmp_path / 'gallery.gif', config)


def test_events_and_points_are_drawn_where_they_are() -> None:
    one = np.array([30], np.uint16)
    events = Events(one, np.array([70], np.uint16), np.array([True]), np.zeros(1, np.int64),
                    (100, 160))  # fmt: skip
    tile = draw(events, '')
    assert np.argwhere(tile[..., 0] > 200).mean(axis=0).round().tolist() == [140, 60]
    points = np.array([[20.0, 0.0, 0.0], [np.nan, 0.0, 0.0], [500.0, 0.0, 0.0]], np.float32)
    seen = np.argwhere(draw(PointCloud(points), '').any(axis=2))
    assert seen.tolist() == [[70, 160]]
