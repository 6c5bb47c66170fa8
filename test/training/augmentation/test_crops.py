"""Pieces of frames: where they lie, held against a frame that is scaled whole and then cut."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sam_ad_perception.core.geometry.cameras import project_points
from sam_ad_perception.core.sensors import Modality, SensorFrame
from sam_ad_perception.modeling.zoo.entries import load_zoo
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig
from training.augmentation.crops import Cut, crop_frame, draw_cut, place_piece
from training.configuration.augmentation import AugmentationConfig
from training.frames.frame import LabelledFrame, bundle_in_view, prepare_frame

ROOT = Path(__file__).parents[3]
SIZE = (16, 24)


def striped(size: tuple[int, int]) -> LabelledFrame:
    """A frame whose labels tell the place of each pixel: 16 rows by 15 columns of blocks."""
    rows, columns = np.indices(size)
    labels = (rows * 16 // size[0]) * 15 + columns * 15 // size[1]
    colour = np.repeat(labels[..., None], 3, axis=2).astype(np.uint8)
    bundle = bundle_in_view({Modality.CAMERA: colour})
    return LabelledFrame('one', bundle, labels.astype(np.uint8))


def cut_by_torch(labels: np.ndarray, cut: Cut, piece: tuple[int, int]) -> np.ndarray:
    """Scale the whole frame, then look every pixel up."""
    scaled = cv2.resize(labels, cut.size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    rows, columns = np.indices(piece)
    columns = piece[1] - 1 - columns if cut.flip else columns
    rows, columns = rows + cut.top, columns + cut.left
    inside = (rows >= 0) & (rows < cut.size[0]) & (columns >= 0) & (columns < cut.size[1])
    out = np.full(piece, 255, np.uint8)
    out[inside] = scaled[rows[inside], columns[inside]]
    return out


@given(seed=st.integers(0, 10_000), low=st.floats(0.3, 1.0), high=st.floats(1.0, 2.5))
def test_the_piece_is_that_of_the_scaled_frame(seed, low, high):
    rng = np.random.default_rng(seed)
    piece = (64, 96)
    cut = draw_cut(AugmentationConfig(scales=(low, high), flip=0.5), piece, rng)
    assert low * piece[0] - 1 <= cut.size[0] <= high * piece[0] + 1
    frame = striped((160, 240))
    part = crop_frame(frame, cut, piece)
    image = torch.from_numpy(part.bundle.frames[Modality.CAMERA].data.transpose(2, 0, 1).copy())
    inputs, labels = place_piece(
        {'camera': image + 1.0}, torch.from_numpy(part.labels), cut, piece
    )
    expected = cut_by_torch(frame.labels, cut, piece)
    np.testing.assert_array_equal(labels.numpy() == 255, expected == 255)
    assert inputs['camera'].shape == (3, *piece)
    np.testing.assert_array_equal(inputs['camera'][0].numpy() == 0, expected == 255)
    # blocks are 10 x 16 pixels of the frame: half a pixel may change their edges only
    assert (labels.numpy() == expected).mean() > 0.8


@pytest.mark.parametrize('flip', [False, True])
def test_at_scale_one_every_pixel_is_the_frames_own(rng, flip):
    size = (40, 60)
    colour = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    labels = rng.integers(0, 19, size, dtype=np.uint8)
    frame = LabelledFrame('one', bundle_in_view({Modality.CAMERA: colour}), labels)
    cut = Cut(size, 7, -5, flip)
    part = crop_frame(frame, cut, SIZE)
    shown = part.bundle.frames[Modality.CAMERA].data
    np.testing.assert_array_equal(shown, colour[7:23, :19])
    inputs, mask = place_piece(
        {'event': torch.from_numpy(part.labels[None].astype(np.float32))},
        torch.from_numpy(part.labels),
        cut,
        SIZE,
    )
    np.testing.assert_array_equal(mask.numpy(), cut_by_torch(labels, cut, SIZE))
    outside = mask.numpy() == 255
    np.testing.assert_array_equal(inputs['event'][0].numpy()[~outside], mask.numpy()[~outside])


@given(seed=st.integers(0, 10_000))
def test_a_point_of_the_world_stays_on_its_pixel(seed):
    """Every sensor is drawn by the view's geometry, so that this holds for all of them."""
    rng = np.random.default_rng(seed)
    piece = (64, 96)
    cut = draw_cut(AugmentationConfig(scales=(0.5, 2.0)), piece, rng)
    frame = striped((160, 240))
    part = crop_frame(frame, cut, piece)
    point = np.array([[rng.uniform(-3, 3), rng.uniform(-2, 2), 10.0]])
    uv, _ = project_points(frame.bundle.camera, point)
    scale = np.array(cut.size[::-1]) / (240, 160)
    wanted = (uv + 0.5) * scale - 0.5 - (cut.left, cut.top)
    before = np.array([max(-cut.left, 0), max(-cut.top, 0)])
    found = project_points(part.bundle.camera, point)[0] + before
    assert np.abs(found - wanted).max() < 1.01 * max(1.0, *scale)


def test_all_sensors_of_a_simulated_drive_follow_the_piece():
    """Against the same frame drawn whole and cut afterwards, sensor by sensor."""
    drive = Drive(DriveConfig(seed=2, duration_s=1.0))
    bundle, truth = drive.bundle(drive.config.start_ns + 500_000_000)
    frame = LabelledFrame('one', bundle, truth.labels)
    forms = load_zoo(ROOT / 'models/zoo.yaml')['mle_sam_demo'].inputs
    height, width = bundle.camera.size
    piece = (height // 2, width // 2)
    cut = Cut(bundle.camera.size, height // 4, width // 4)
    whole = prepare_frame(frame, forms, bundle.camera.size).inputs
    part = crop_frame(frame, cut, piece)
    drawn = prepare_frame(part, forms, part.bundle.camera.size).inputs
    rows, columns = slice(cut.top, cut.top + piece[0]), slice(cut.left, cut.left + piece[1])
    assert drawn.keys() == whole.keys() == set(map(str, bundle.frames))
    np.testing.assert_allclose(drawn['camera'], whole['camera'][:, rows, columns], atol=1e-6)
    for name in drawn:
        expected = whole[name][:, rows, columns]
        same = np.isclose(drawn[name], expected, atol=0.05)
        assert same.mean() > 0.97, (name, same.mean())
        assert expected.any(), name


def test_published_pictures_are_cut_like_the_camera(rng):
    frame = striped((40, 60))
    picture = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    frame = dataclasses.replace(frame, pictures={'hha': picture})
    part = crop_frame(frame, Cut((40, 60), 4, 8), SIZE)
    np.testing.assert_array_equal(part.pictures['hha'], picture[4:20, 8:32])


def test_a_frame_without_a_camera_is_cut_by_its_view(rng):
    frame = striped((40, 60))
    thermal = rng.integers(0, 256, (20, 30), dtype=np.uint8)
    sensor = SensorFrame(Modality.THERMAL, 0, 'camera', thermal, None)
    bundle = dataclasses.replace(frame.bundle, frames={Modality.THERMAL: sensor})
    part = crop_frame(dataclasses.replace(frame, bundle=bundle), Cut((40, 60), 4, 8), SIZE)
    assert part.bundle.camera.size == SIZE == part.labels.shape
    assert part.bundle.frames[Modality.THERMAL].data is thermal


def test_all_of_a_smaller_frame_is_kept_and_none_of_a_larger_is_missing(rng):
    small = AugmentationConfig(scales=(0.5, 0.5))
    large = AugmentationConfig(scales=(2.0, 2.0))
    for _ in range(20):
        cut = draw_cut(small, SIZE, rng)
        assert cut.size == (8, 12)
        assert -8 <= cut.top <= 0
        assert -12 <= cut.left <= 0
        cut = draw_cut(large, SIZE, rng)
        assert cut.size == (32, 48)
        assert 0 <= cut.top <= 16
        assert 0 <= cut.left <= 24
    scales = [
        draw_cut(AugmentationConfig(scales=(0.5, 2.0)), (1000, 1000), rng).size[0] / 1000
        for _ in range(500)
    ]
    assert min(scales) < 0.6
    assert max(scales) > 1.8
    assert np.median(scales) == pytest.approx(1.0, abs=0.12)


def test_a_piece_of_a_wide_frame_keeps_its_proportions(rng):
    """MUSES is 1920x1080, the network's input square: a piece is cut, nothing is squashed."""
    config = AugmentationConfig(scales=(0.5, 2.0), scale_draw='uniform', keep_aspect=True)
    cuts = [draw_cut(config, (1024, 1024), rng, (1080, 1920)) for _ in range(400)]
    scales = np.array([cut.size[0] / 1024 for cut in cuts])
    for cut in cuts:
        assert cut.size[1] / cut.size[0] == pytest.approx(1920 / 1080, rel=2e-3)
        assert -max(0, 1024 - cut.size[0]) <= cut.top <= max(0, cut.size[0] - 1024)
        assert -max(0, 1024 - cut.size[1]) <= cut.left <= max(0, cut.size[1] - 1024)
    assert (scales.min(), scales.max()) == pytest.approx((0.5, 2.0), abs=0.03)
    assert scales.mean() == pytest.approx(1.25, abs=0.07)  # drawn evenly
    with pytest.raises(ValueError, match='scale_draw must be one of'):
        AugmentationConfig(scale_draw='gauss')


def test_a_cut_of_the_whole_frame_changes_nothing(rng):
    image = torch.from_numpy(rng.standard_normal((2, *SIZE), dtype=np.float32))
    labels = torch.from_numpy(rng.integers(0, 19, SIZE, dtype=np.uint8))
    pieces, mask = place_piece({'event': image}, labels, Cut(SIZE), SIZE)
    assert type(pieces['event']) is torch.Tensor
    assert torch.equal(pieces['event'], image)
    assert torch.equal(mask, labels)
    frame = striped(SIZE)
    part = crop_frame(frame, Cut(SIZE), SIZE)
    np.testing.assert_array_equal(part.labels, frame.labels)
    np.testing.assert_array_equal(part.bundle.camera.K, frame.bundle.camera.K)
