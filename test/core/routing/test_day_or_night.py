"""Day and night told apart on simulated drives, whose condition is known, and on recordings."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from sam_ad_perception.core.routing.day_or_night import estimate_condition
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig

SURE = 0.8


@pytest.mark.parametrize(
    ('condition', 'expected'),
    [
        ('day', 'day'),
        ('fog', 'day'),
        ('rain', 'day'),
        ('glare', 'day'),
        ('night', 'night'),
        ('night+rain', 'night'),
        ('night+fog', 'night'),
    ],
)
def test_simulated_condition_is_told(condition: str, expected: str) -> None:
    for seed in (20, 21):
        drive = Drive(DriveConfig(seed=seed, duration_s=2, condition=condition))
        bundle, _ = drive.bundle(drive.config.start_ns + 10**9)
        estimate = estimate_condition(bundle.frames[Modality.CAMERA].data)
        assert estimate.name == expected
        assert estimate.confidence >= SURE


def estimates(files: list[Path]) -> list[tuple[str, float]]:
    assert files
    images = [cv2.cvtColor(cv2.imread(str(f)), cv2.COLOR_BGR2RGB) for f in files]
    return [(e.name, e.confidence) for e in map(estimate_condition, images)]


def test_recorded_days_are_never_taken_for_nights(sample_data: Path) -> None:
    files = sorted((sample_data / 'camvid/train').glob('*.png'))[::20]
    files += sorted((sample_data / 'kitti/frames').rglob('*.png'))
    files += sorted((sample_data / 'rgbt/roadscene').glob('vi*/*'))
    found = estimates(files)
    assert not [each for each in found if each[0] == 'night' and each[1] >= SURE]
    sure = [each for each in found if each[1] >= SURE]
    assert len(sure) >= 0.75 * len(found)


def test_recorded_nights_are_nights(sample_data: Path) -> None:
    files = sorted((sample_data / 'rgbt/msrs/vi').glob('*N.*'))
    assert all(name == 'night' and sure >= SURE for name, sure in estimates(files))


def test_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r'\(H, W, 3\) uint8'):
        estimate_condition(np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match='not empty'):
        estimate_condition(np.zeros((0, 4, 3), np.uint8))
