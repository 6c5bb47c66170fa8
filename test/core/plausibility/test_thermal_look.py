"""Near infrared and black-hot images are found, on real pairs of thermal and colour images."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from sam_ad_perception.core.plausibility.config import PlausibilityConfig
from sam_ad_perception.core.plausibility.monitor import PlausibilityMonitor
from sam_ad_perception.core.plausibility.thermal_look import details_in_common, polarity_signs
from sam_ad_perception.core.sensors import CameraModel, Modality, SensorBundle, SensorFrame

CAMERA, THERMAL = Modality.CAMERA, Modality.THERMAL


def model(image, frame='camera_optical'):
    height, width = image.shape[:2]
    K = np.array([[0.9 * width, 0, width / 2], [0, 0.9 * width, height / 2], [0, 0, 1]])
    return CameraModel(width, height, K, frame_id=frame)


def bundle_of(colour, heat, T=None, k=0):
    """A camera image and what is taken for a thermal one, of one place unless T says otherwise."""
    camera, lens = model(colour), model(heat, 'thermal_optical')
    frames = {
        CAMERA: SensorFrame(CAMERA, k, 'camera_optical', colour, camera),
        THERMAL: SensorFrame(THERMAL, k, 'thermal_optical', heat, lens),
    }
    return SensorBundle(
        k, CAMERA, camera, frames, T_camera={THERMAL: np.eye(4) if T is None else T}
    )


def found(bundles, **config):
    monitor = PlausibilityMonitor(PlausibilityConfig(**config))
    checks = monitor.checks(THERMAL)
    for each in bundles:
        frames = dict(each.frames)
        image, told = checks.check_out(frames[THERMAL].data)
        frames[THERMAL] = SensorFrame(
            THERMAL, each.stamp_ns, 'thermal_optical', image, frames[THERMAL].camera, findings=told
        )
        used = monitor.check_bundle(
            SensorBundle(each.stamp_ns, CAMERA, each.camera, frames, T_camera=each.T_camera)
        )
    return {(f.finding.code, f.finding.out) for f in monitor.findings()}, set(used.frames)


def pairs(folder: Path):
    """Colour and thermal images of three data sets, aligned by their makers."""
    for name in ('msrs', 'roadscene'):
        for path in sorted((folder / 'rgbt' / name / 'ir').iterdir()):
            colour = cv2.imread(str(folder / 'rgbt' / name / 'vi' / path.name))
            yield path.name, colour[:, :, ::-1].copy(), cv2.imread(str(path), 0)
    for path in sorted((folder / 'rgbt/mfnet_4ch').iterdir()):
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        yield path.name, image[:, :, 2::-1].copy(), image[:, :, 3].copy()


@pytest.mark.data
def test_no_real_thermal_image_is_taken_for_light_or_for_black_hot(sample_data):
    seen = 0
    for name, colour, heat in pairs(sample_data):
        for counts in (heat, heat.astype(np.uint16) * 20 + 7000):
            told, used = found([bundle_of(colour, counts, k=k) for k in range(4)])
            assert (told, used) == (set(), {CAMERA, THERMAL}), name
        seen += 1
    assert seen == 24


@pytest.mark.data
def test_black_hot_copies_of_real_images_are_told_in_most_and_never_where_set(sample_data):
    told, inverted = 0, 0
    for name, colour, heat in pairs(sample_data):
        bundles = [bundle_of(colour, 255 - heat, k=k) for k in range(4)]
        codes, used = found(bundles)
        assert codes in (set(), {('image.polarity', False)}), name
        assert used == {CAMERA, THERMAL}
        told += bool(codes)
        inverted += bool(found(bundles, thermal_polarity='black_hot')[0])
    assert told >= 16
    assert inverted == 0


@pytest.mark.data
@pytest.mark.parametrize('depth', [np.uint8, np.uint16])
def test_one_colour_of_a_real_image_is_no_heat(sample_data, depth):
    for name, colour, _ in pairs(sample_data):
        light = colour[:, :, 0].astype(depth)  # red, the nearest to near infrared
        light = light * 4 + 2000 if depth is np.uint16 else light
        told, used = found([bundle_of(colour, light)])
        assert (told, used) == ({('image.role', True)}, {CAMERA}), name


@pytest.mark.data
def test_lepton_recordings_are_white_hot(sample_data):
    for path in sorted((sample_data / 'health').glob('lepton_*_9hz.npz')):
        signs = [polarity_signs(each) for each in np.load(path)['frames'][::20].astype(np.float32)]
        assert all(spots > -2.0 for _, spots in signs), path.name
        assert all(sky < 0.3 for sky, _ in signs), path.name


def test_details_are_compared_where_both_look(rng):
    """The thermal camera is turned by 8 degrees, and of half the size."""
    colour = cv2.GaussianBlur(rng.integers(0, 255, (240, 320)).astype(np.float32), (0, 0), 4)
    colour = np.uint8(255 * (colour - colour.min()) / np.ptp(colour))
    image, half = np.dstack([colour] * 3), model(np.zeros((120, 160)), 'thermal_optical')
    T = np.eye(4)
    T[:3, :3], _ = cv2.Rodrigues(np.array([0.0, np.radians(8), 0]))
    # What the turned camera sees, by OpenCV: pixels of it to pixels of the image.
    H = model(image).K @ T[:3, :3] @ np.linalg.inv(half.K)
    seen = cv2.warpPerspective(colour, H, (160, 120), flags=cv2.INTER_AREA | cv2.WARP_INVERSE_MAP)
    frame = SensorFrame(THERMAL, 0, 'thermal_optical', seen, half)
    small = cv2.resize(seen.astype(np.float32), (96, 72), interpolation=cv2.INTER_AREA)
    alike = details_in_common(image, model(image), small, frame, T)
    assert alike > 0.8
    wrong = details_in_common(image, model(image), small, frame, np.linalg.inv(T))
    assert abs(wrong) < 0.3
    away = T.copy()
    away[:3, :3], _ = cv2.Rodrigues(np.array([0.0, np.radians(120), 0]))
    assert details_in_common(image, model(image), small, frame, away) is None
