"""Random changes of frames and batches: all sensors and the labels together."""

from __future__ import annotations

import colorsys
from pathlib import Path

import numpy as np
import pytest
import torch

from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.modeling.zoo.entries import load_zoo
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig
from training.augmentation.batches import corrupt_batch, drop_sensors
from training.augmentation.frames import spoil_sensors, vary_camera
from training.configuration.augmentation import AugmentationConfig, CorruptionConfig
from training.frames.frame import Batch, LabelledFrame, bundle_in_view
from training.runs.prepared_batches import PreparedFrames

ROOT = Path(__file__).parents[3]
SIZE = (16, 24)


def frame_of(rng: np.random.Generator, size: tuple[int, int] = (32, 48)) -> LabelledFrame:
    colour = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    bundle = bundle_in_view({Modality.CAMERA: colour})
    return LabelledFrame('one', bundle, rng.integers(0, 19, size, dtype=np.uint8))


def test_without_options_a_frame_is_what_the_vehicle_prepares(rng):
    spec = load_zoo(ROOT / 'training/configs/debug_zoo.yaml')['debug']
    frame = frame_of(rng, spec.input_size)

    class One:
        space = spec.labels

        def __len__(self):
            return 1

        def read(self, index):
            return frame

    source = PreparedFrames(One(), spec, AugmentationConfig())
    plain, drawn = source.read([0]), source.read([0, 0], np.random.default_rng(1))
    assert source.rendered().tolist() == [0]
    assert torch.equal(plain.inputs['camera'][0], drawn.inputs['camera'][1])
    assert torch.equal(plain.labels[0], drawn.labels[0])
    np.testing.assert_array_equal(plain.labels[0].numpy(), frame.labels)
    expected = spec.inputs['camera'].render(
        frame.bundle.frames[Modality.CAMERA], frame.bundle.camera, None
    )
    np.testing.assert_array_equal(plain.inputs['camera'][0].numpy(), expected)


def test_colours_change_as_often_as_configured_and_only_the_cameras(rng):
    frame = frame_of(rng)
    thermal = frame.labels.copy()
    bundle = bundle_in_view(
        {Modality.CAMERA: frame.bundle.frames[Modality.CAMERA].data, Modality.THERMAL: thermal}
    )
    frame = LabelledFrame('one', bundle, frame.labels)
    before = frame.bundle.frames[Modality.CAMERA].data.copy()
    config = AugmentationConfig(colour=0.5)
    changed = 0
    for _ in range(100):
        out = vary_camera(frame, config, rng)
        changed += out is not frame
        assert out.bundle.frames[Modality.THERMAL].data is bundle.frames[Modality.THERMAL].data
    assert 30 < changed < 70
    np.testing.assert_array_equal(frame.bundle.frames[Modality.CAMERA].data, before)
    assert vary_camera(frame, AugmentationConfig(), rng) is frame


def test_hue_turns_the_colour_circle():
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 200
    frame = LabelledFrame('red', bundle_in_view({Modality.CAMERA: red}), red[..., 1])
    config = AugmentationConfig(colour=1.0, brightness=0, contrast=0, saturation=0, hue=0.5)
    hues = []
    for seed in range(20):
        out = vary_camera(frame, config, np.random.default_rng(seed))
        pixel = out.bundle.frames[Modality.CAMERA].data[4, 4] / 255
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
        hues.append(hue)
        assert saturation == pytest.approx(1.0, abs=0.02)
        assert value == pytest.approx(200 / 255, abs=0.01)
    assert np.ptp(hues) > 0.5


def test_blur_lowers_contrast_but_not_brightness(rng):
    frame = frame_of(rng)
    before = frame.bundle.frames[Modality.CAMERA].data
    contrasts = []
    for _ in range(20):
        out = vary_camera(frame, AugmentationConfig(blur=1.0), rng)
        after = out.bundle.frames[Modality.CAMERA].data
        contrasts.append(after.std() / before.std())
        assert after.mean() == pytest.approx(before.mean(), abs=2)
    assert max(contrasts) <= 1.0
    assert np.mean(contrasts) < 0.6


def test_faults_befall_what_the_sensors_measured():
    drive = Drive(DriveConfig(seed=2, duration_s=1.0))
    bundle, truth = drive.bundle(drive.config.start_ns + 500_000_000)
    frame = LabelledFrame('one', bundle, truth.labels)
    rng = np.random.default_rng(0)
    always = AugmentationConfig(faults={'camera': 1.0, 'lidar': 1.0, 'thermal': 0.0})
    spoilt = [spoil_sensors(frame, always, rng) for _ in range(12)]
    for out in spoilt:
        frames = out.bundle.frames
        before = bundle.frames[Modality.CAMERA].data
        assert not np.array_equal(frames[Modality.CAMERA].data, before)
        assert frames[Modality.LIDAR].data is not bundle.frames[Modality.LIDAR].data
        for same in (Modality.THERMAL, Modality.EVENT):
            assert frames[same] is bundle.frames[same]
    means = [out.bundle.frames[Modality.CAMERA].data.mean() for out in spoilt]
    assert np.ptp(means) > 50  # over-exposed and black are among them
    assert spoil_sensors(frame, AugmentationConfig(), rng) is frame
    picture = frame_of(rng).bundle.frames[Modality.CAMERA].data
    rendered = bundle_in_view({Modality.CAMERA: picture, Modality.LIDAR: picture})
    finished = LabelledFrame('two', rendered, picture[..., 0] % 19)
    with pytest.raises(ValueError, match='befalls lidar, got ndarray'):
        spoil_sensors(finished, AugmentationConfig(faults={'lidar': 1.0}), rng)


def batch_of(rng: np.random.Generator, count: int = 400) -> Batch:
    channels = {'camera': 3, 'thermal': 1, 'lidar': 3}
    inputs = {
        name: torch.from_numpy(rng.standard_normal((count, c, 8, 8), dtype=np.float32))
        for name, c in channels.items()
    }
    return Batch(inputs, torch.zeros(count, 8, 8, dtype=torch.long))


def test_no_corruption_draws_nothing_and_changes_nothing(rng):
    batch, state = batch_of(rng, 2), rng.bit_generator.state
    out = corrupt_batch(batch, CorruptionConfig(), rng)
    assert rng.bit_generator.state == state
    assert all(out.inputs[name] is image for name, image in batch.inputs.items())


def test_corruption_befalls_its_share_of_its_sensor(rng):
    batch = batch_of(rng)
    noisy = corrupt_batch(batch, CorruptionConfig(noise={'camera': 0.25}, noise_std=2.0), rng)
    change = noisy.inputs['camera'] - batch.inputs['camera']
    hit = change.flatten(1).any(dim=1)
    assert 0.15 < float(hit.float().mean()) < 0.35
    assert float(change[hit].std()) == pytest.approx(2.0, rel=0.05)
    assert torch.equal(noisy.inputs['lidar'], batch.inputs['lidar'])
    black = corrupt_batch(batch, CorruptionConfig(blackout={'thermal': 1.0}), rng)
    lowest = batch.inputs['thermal'].amin(dim=(2, 3), keepdim=True).expand(-1, -1, 8, 8)
    assert torch.equal(black.inputs['thermal'], lowest)


def test_light_is_multiplied_and_clips_at_what_the_frame_reaches(rng):
    batch = batch_of(rng, 60)
    config = CorruptionConfig(exposure={'camera': 1.0}, exposure_stops=3.0)
    out = corrupt_batch(batch, config, rng).inputs['camera'].numpy()
    stops = []
    for before, after in zip(batch.inputs['camera'].numpy(), out, strict=True):
        low, high = before.min(axis=(1, 2), keepdims=True), before.max(axis=(1, 2), keepdims=True)
        inside = (after < high) & (before > low + 1e-2)
        gain = np.median((after - low)[inside] / (before - low)[inside])
        expected = np.minimum(low + gain * (before - low), high)
        np.testing.assert_allclose(after, expected, rtol=0, atol=1e-3)
        stops.append(float(np.log2(gain)))
    assert -3.01 < min(stops) < -2
    assert 2 < max(stops) < 3.01


def test_a_veil_keeps_the_mean_and_a_share_of_the_contrast(rng):
    batch = batch_of(rng, 60)
    out = corrupt_batch(batch, CorruptionConfig(veil={'thermal': 1.0}, veil_kept=0.2), rng)
    before, after = batch.inputs['thermal'].numpy(), out.inputs['thermal'].numpy()
    assert np.allclose(before.mean(axis=(2, 3)), after.mean(axis=(2, 3)), atol=1e-5)
    kept = after.std(axis=(1, 2, 3)) / before.std(axis=(1, 2, 3))
    assert 0.199 < kept.min() < 0.35
    assert 0.85 < kept.max() < 1.001
    assert torch.equal(out.inputs['lidar'], batch.inputs['lidar'])


def test_jitter_shifts_whole_frames(rng):
    batch = batch_of(rng, 60)
    out = corrupt_batch(batch, CorruptionConfig(jitter={'lidar': 1.0}, jitter_px=2), rng)
    shifts = set()
    for before, after in zip(batch.inputs['lidar'], out.inputs['lidar'], strict=True):
        padded = np.pad(before.numpy(), ((0, 0), (2, 2), (2, 2)))
        fits = [
            (v, u)
            for v in range(5)
            for u in range(5)
            if np.array_equal(padded[:, v : v + 8, u : u + 8], after.numpy())
        ]
        assert len(fits) == 1
        shifts.update(fits)
    assert len(shifts) > 15


def test_dropped_sensors_leave_one_and_those_that_are_required(rng):
    batch = batch_of(rng, 1)
    always = CorruptionConfig(drop=dict.fromkeys(batch.inputs, 1.0))
    left = {tuple(drop_sensors(batch, always, rng).inputs) for _ in range(50)}
    assert left == {('camera',), ('thermal',), ('lidar',)}
    assert list(drop_sensors(batch, always, rng, ['camera']).inputs) == ['camera']
    half = CorruptionConfig(drop={'thermal': 0.5})
    kept = [tuple(drop_sensors(batch, half, rng).inputs) for _ in range(200)]
    assert set(kept) == {('camera', 'thermal', 'lidar'), ('camera', 'lidar')}
    assert 60 < kept.count(('camera', 'lidar')) < 140


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: AugmentationConfig(scales=(2.0, 0.5)), 'scales must be positive and rising'),
        (lambda: CorruptionConfig(veil_kept=2.0), r'veil_kept must be in \[0, 1\], got 2.0'),
        (lambda: CorruptionConfig(exposure={'camera': 2}), r'exposure.camera must be in \[0, 1\]'),
        (lambda: AugmentationConfig(flip=1.5), r'flip must be in \[0, 1\], got 1.5'),
        (lambda: AugmentationConfig(hue=0.6), 'hue must be in'),
        (lambda: AugmentationConfig(faults={'radar': 0.5}), 'got radar: 0.5'),
        (lambda: AugmentationConfig(faults={'camera': 2.0}), 'got camera: 2.0'),
        (lambda: CorruptionConfig(noise={'camera': -0.1}), r'noise\.camera must be in'),
        (lambda: CorruptionConfig(jitter_px=-1), 'jitter_px must be 0 or more'),
    ],
)
def test_options_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
