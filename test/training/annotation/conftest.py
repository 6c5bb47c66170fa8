"""A short simulated drive with masks of a network."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from sam_ad_perception.bags.labelling.recording import label_bag
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.core.messages.from_ros import image_to_array, stamp_of
from sam_ad_perception.modeling.inference.expert_network import ExpertNetwork
from sam_ad_perception.modeling.inference.segmenter import Segmenter
from sam_ad_perception.modeling.zoo.entries import build_model, load_zoo
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig
from sam_ad_perception.simulation.drives.recording import record
from sam_ad_perception.simulation.faults.effects import parse_fault

ROOT = Path(__file__).parents[3]
SMALL = {'size': (200, 320), 'thermal_size': (128, 160), 'event_size': (100, 160)}


@pytest.fixture(scope='package')
def labelled_drive(tmp_path_factory) -> Path:
    """Labelled by an untrained network; the camera is black from 0.3 s on."""
    place = tmp_path_factory.mktemp('annotation')
    with BagWriter(place / 'drive') as writer:
        faults = (parse_fault('camera:black:0.25:0.6'),)
        record(Drive(DriveConfig(seed=3, duration_s=0.5, faults=faults, **SMALL)), writer)
    spec = load_zoo(ROOT / 'training/configs/debug_zoo.yaml')['debug']
    torch.manual_seed(0)
    segmenter = Segmenter([ExpertNetwork(spec, build_model(spec))])
    label_bag(place / 'drive', place / 'labelled', segmenter, segmenter.labels)
    return place / 'labelled'


@pytest.fixture
def bag(labelled_drive, tmp_path) -> Path:
    """A copy that a test may write into."""
    return shutil.copytree(labelled_drive, tmp_path / 'labelled')


@pytest.fixture(scope='package')
def masks(labelled_drive) -> dict[int, np.ndarray]:
    """What the network drew, by stamp."""
    return masks_of(labelled_drive, '/semantic/image')


@pytest.fixture(scope='package')
def truth(labelled_drive) -> dict[int, np.ndarray]:
    """What the simulator drew, by stamp."""
    return masks_of(labelled_drive, '/ground_truth/image')


def masks_of(bag: Path, topic: str) -> dict[int, np.ndarray]:
    with BagReader(bag) as reader:
        images = [reader.deserialize(m) for m in reader.messages([topic])]
    return {stamp_of(image): np.array(image_to_array(image)[0]) for image in images}
