"""Recorded pictures of day and night raise no alarm; the same pictures spoilt do."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from sam_ad_perception.core.health.monitor import HealthMonitor
from sam_ad_perception.core.sensors import CameraModel, Modality, SensorBundle, SensorFrame

CAMERA, THERMAL = Modality.CAMERA, Modality.THERMAL
pytestmark = pytest.mark.data


def read(path, modality):
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    return image[:, :, ::-1] if modality is CAMERA else np.ascontiguousarray(image[:, :, 1])


def find(monitor, image, modality, second=1):
    height, width = image.shape[:2]
    view = CameraModel(width, height, np.diag([width, width, 1.0]), frame_id='view')
    stamp_ns = second * 1_000_000_000
    frame = SensorFrame(modality, stamp_ns, 'view', image, view)
    bundle = SensorBundle(stamp_ns, modality, view, {modality: frame})
    return [str(f.kind) for f in monitor.check(bundle).findings.get(modality, ())]


@pytest.mark.parametrize(
    ('pattern', 'modality', 'count'),
    [
        ('camvid/val/*.png', CAMERA, 25),
        ('kitti/frames/**/*.png', CAMERA, 3),
        ('opencalib/*.jpg', CAMERA, 1),
        ('rgbt/msrs/vi/*.png', CAMERA, 10),
        ('rgbt/msrs/ir/*.png', THERMAL, 10),
        ('rgbt/roadscene/vi/*', CAMERA, 12),
        ('rgbt/roadscene/ir/*', THERMAL, 12),
    ],
)
def test_recorded_pictures_are_healthy_and_blurred_ones_are_not(
    sample_data: Path, pattern, modality, count
):
    paths = sorted(sample_data.glob(pattern))
    paths = paths[:: max(1, len(paths) // count)][:count]
    assert len(paths) == count
    for path in paths:
        image = read(path, modality)
        assert find(HealthMonitor(), image, modality) == [], path.name
        if modality is CAMERA:
            blurred = cv2.GaussianBlur(image, (0, 0), 4)
            assert find(HealthMonitor(), blurred, modality) == ['blurred'], path.name


@pytest.mark.parametrize(('drive', 'start'), [('0006R0', 0), ('0016E5', 0), ('0001TP', 30)])
def test_a_recorded_drive_is_healthy_until_it_freezes(sample_data: Path, drive, start):
    """CamVid labels one picture per second of its videos; 0001TP is one of dusk."""
    monitor = HealthMonitor()
    paths = sorted((sample_data / 'camvid/train').glob(f'{drive}_*.png'))[start : start + 30]
    for second, path in enumerate(paths, 1):
        assert find(monitor, read(path, CAMERA), CAMERA, second) == [], path.name
    frozen = read(paths[-1], CAMERA)
    assert find(monitor, frozen, CAMERA, len(paths) + 1) == ['frozen']
