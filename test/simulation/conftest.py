from __future__ import annotations

import pytest

from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig


@pytest.fixture(scope='session')
def drive() -> Drive:
    return Drive(DriveConfig(seed=3, duration_s=4.0, size=(200, 320)))


@pytest.fixture(scope='session')
def stamp(drive: Drive) -> int:
    return drive.frame_stamps(Modality.CAMERA)[17]
