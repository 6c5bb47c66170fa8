from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sam_ad_perception.core.sensors import Modality, SensorFrame
from sam_ad_perception.modeling.inputs.events import EventImage
from sam_ad_perception.modeling.inputs.published_pictures import PrerenderedImage
from sam_ad_perception.modeling.inputs.representations import LidarImage, Rgb
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig
from sam_ad_perception.simulation.faults.effects import Fault
from training.augmentation.sensor_faults import spoil_bundle
from training.configuration.fault_cases import DELIVER_CASES, fault_cases
from training.evaluation.data import HeldBackDrives
from training.evaluation.noise import GAUSSIAN, KINDS, UNIFORM, add_noise
from training.frames.frame import nominal_camera

SENSORS = ('camera', 'thermal', 'event', 'lidar')


@pytest.mark.parametrize('kind', KINDS)
def test_noise_on_colours_is_the_papers_on_their_bytes(kind):
    form = Rgb()
    mean, std = (np.float32(v)[:, None, None] for v in (form.mean, form.std))
    levels = np.full((3, 200, 300), 128, np.float32)
    image = (levels / 255 - mean) / std
    noisy = add_noise(image, form, kind, np.random.default_rng(0))
    back = (noisy * std + mean) * 255
    assert back.min() >= -1e-3
    assert back.max() <= 255.001
    assert back.mean() == pytest.approx(128, abs=0.5)
    # standard deviations of a normal one clipped at +-127.5 and of a uniform one
    assert back.std() == pytest.approx({GAUSSIAN: 49.5, UNIFORM: 200 / 12**0.5}[kind], abs=0.5)
    again = add_noise(image, form, kind, np.random.default_rng(0))
    assert (noisy == again).all()
    black = add_noise((0 / 255 - mean) / std + 0 * image, form, kind, np.random.default_rng(0))
    assert ((black * std + mean) * 255 < 1e-3).mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize(
    'form',
    [PrerenderedImage(), PrerenderedImage((0.4, 0.5, 0.6), (0.2, 0.3, 0.1)), EventImage()],
    ids=['picture', 'normalised', 'event_image'],
)
def test_noise_on_published_pictures_is_the_papers_on_their_bytes(form, kind):
    """HHA uses a small part of 0..255: the noise is 50 levels of a byte, not of that part."""
    picture = np.random.default_rng(3).integers(100, 145, (200, 300, 3)).astype(np.uint8)
    view = nominal_camera((200, 300))
    frame = SensorFrame(Modality.EVENT, 0, view.frame_id, picture, view)
    image = form.render(frame, view, np.eye(4))
    rng = np.random.default_rng(0)
    noisy = add_noise(image, form, kind, np.random.default_rng(0))
    mean = np.float32(getattr(form, 'mean', (0, 0, 0)))[:, None, None]
    std = np.float32(getattr(form, 'std', (1, 1, 1)))[:, None, None]
    if kind == GAUSSIAN:
        noise = 50.0 * rng.standard_normal(image.shape, dtype=np.float32)
    else:
        noise = rng.uniform(-100, 100, image.shape).astype(np.float32)
    inside = (slice(None), slice(20, -20), slice(20, -20))  # an event picture is warped
    expected = np.clip(picture.transpose(2, 0, 1) + noise, 0, 255)
    got = (noisy * std + mean) * 255
    np.testing.assert_allclose(got[inside], expected[inside], atol=0.02)
    spread = (got - (image * std + mean) * 255)[inside].std()
    assert spread == pytest.approx({GAUSSIAN: 49.0, UNIFORM: 57.7}[kind], abs=1.0)


def test_noise_on_other_pictures_keeps_their_range():
    image = np.random.default_rng(1).uniform(-1, 3, (3, 40, 50)).astype(np.float32)
    image[2] = 0.5
    noisy = add_noise(image, LidarImage(), UNIFORM, np.random.default_rng(0))
    for channel in (0, 1):
        assert noisy[channel].min() == pytest.approx(image[channel].min(), abs=1e-5)
        assert noisy[channel].max() == pytest.approx(image[channel].max(), abs=1e-5)
        spread = np.abs(noisy[channel] - image[channel]).max() / np.ptp(image[channel])
        assert 0.3 < spread <= 100 / 255 + 1e-5
    assert (noisy[2] == 0.5).all()
    with pytest.raises(ValueError, match='noise must be one of'):
        add_noise(image, LidarImage(), 'pink', np.random.default_rng(0))


def test_faults_are_those_of_a_drive_that_has_them():
    """Of a fault without chance, a spoilt frame is the frame of a spoilt drive."""
    (frame,) = HeldBackDrives(1)
    elapsed_s = (frame.bundle.stamp_ns - DriveConfig().start_ns) / 1e9
    for case in ('camera:over_exposure', 'camera:motion_blur', 'event:event_silence'):
        sensor, kind = case.split(':')
        fault = Fault(sensor, kind, 0.0, elapsed_s + 1)
        drive = Drive(DriveConfig(seed=0, duration_s=20.0, faults=(fault,)))
        expected, _ = drive.bundle(frame.bundle.stamp_ns)
        spoilt = spoil_bundle(frame.bundle, case, np.random.default_rng(0))
        for modality, theirs in expected.frames.items():
            ours = spoilt.frames[modality].data
            fields = ('x', 't_ns') if modality is Modality.EVENT else ('points',)
            names = fields if not isinstance(ours, np.ndarray) else ()
            if isinstance(ours, np.ndarray):
                assert (ours == theirs.data).all(), (case, modality)
            for name in names:
                assert np.array_equal(getattr(ours, name), getattr(theirs.data, name)), case


def test_every_fault_befalls_its_sensor_and_no_other():
    (frame,) = HeldBackDrives(1)
    cases = fault_cases(SENSORS, 'all')
    assert set(DELIVER_CASES) < set(cases)
    assert fault_cases(SENSORS, 'deliver') == list(DELIVER_CASES)
    assert fault_cases(('lidar',), 'deliver') == ['lidar:lidar_jitter']
    assert fault_cases(SENSORS, 'none') == []
    with pytest.raises(ValueError, match='faults must be one of'):
        fault_cases(SENSORS, 'some')
    for case in cases:
        spoilt = spoil_bundle(frame.bundle, case, np.random.default_rng(0))
        changed = [m for m, f in spoilt.frames.items() if f is not frame.bundle.frames[m]]
        assert changed == [case.split(':')[0]]
        cloud = spoilt.frames[Modality.LIDAR].data
        assert np.isfinite(cloud.points).all()
    alone = dataclasses.replace(frame.bundle, frames={}, missing={})
    assert spoil_bundle(alone, cases[0], np.random.default_rng(0)) is alone
