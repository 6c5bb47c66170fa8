"""Loading the network of the segmentation node and warming up all that a frame runs through.

torch is imported here and not before: a node that is only asked for its parameters starts fast.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sam_ad_perception.core.depth import DepthConfig
from sam_ad_perception.core.health_config import HealthConfig
from sam_ad_perception.core.sensors import (
    CameraModel,
    Events,
    Modality,
    PointCloud,
    SensorBundle,
    SensorData,
    SensorFrame,
)
from sam_ad_perception.nodes.configuration import ModelConfig
from sam_ad_perception.nodes.environment import share_folder

if TYPE_CHECKING:
    from sam_ad_perception.core.labels import LabelSpace
    from sam_ad_perception.modeling.segmenter import Segmenter

CHECKPOINT_VARIABLE = 'SAM_AD_CHECKPOINTS'


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A network that is ready.

    Attributes:
        segmenter: Runs it.
        labels: The classes of its masks.
    """

    segmenter: Segmenter
    labels: LabelSpace


def load_model(
    config: ModelConfig,
    depth: DepthConfig,
    health: HealthConfig,
    tell: Callable[[str], object],
) -> LoadedModel:
    """Load a network and run it once, so that the first frame is not the slowest.

    Args:
        config: Which network, from where, on what.
        depth: How a sweep becomes a depth image.
        health: How spoilt frames are told from good ones.
        tell: Told in words what happens now.

    Returns:
        The network.

    Raises:
        ValueError: No such entry, or a wrong checkpoint.
        OSError: A file cannot be read.
        RuntimeError: The device is not there.
    """
    tell('importing torch')
    from sam_ad_perception.modeling.segmenter import Segmenter

    zoo, checkpoints = model_files(config)
    tell(f'loading {config.key}')
    segmenter = Segmenter.from_zoo(
        zoo,
        config.key,
        checkpoints,
        config.device,
        threads=config.threads or None,
        depth=depth,
        health=health,
    )
    tell(f'warming up {config.key}')
    segmenter.segment([sample_bundle()])
    segmenter.reset()
    return LoadedModel(segmenter, segmenter.spec.labels)


def model_files(config: ModelConfig) -> tuple[Path, Path]:
    """Find the zoo and the checkpoints.

    Args:
        config: What the user chose.

    Returns:
        Path of the zoo file, folder of the checkpoints.

    Raises:
        FileNotFoundError: The package's own are wanted but not installed.
    """
    zoo = Path(config.zoo) if config.zoo else share_folder('models') / 'zoo.yaml'
    named = config.checkpoint_dir or os.environ.get(CHECKPOINT_VARIABLE, '')
    return zoo, Path(named) if named else share_folder('models') / 'checkpoints'


def sample_bundle(size: tuple[int, int] = (96, 160)) -> SensorBundle:
    """Make a bundle with every sensor, for warming up.

    Args:
        size: `(H, W)` of each image, pixels.

    Returns:
        The bundle; its content is noise.
    """
    rng = np.random.default_rng(0)
    height, width = size
    K = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]])
    view = CameraModel(width, height, K, frame_id='camera')
    stamp_ns = 1_000_000_000
    count = 1000
    events = Events(
        rng.integers(0, width, count).astype(np.uint16),
        rng.integers(0, height, count).astype(np.uint16),
        rng.random(count) < 0.5,
        np.sort(rng.integers(stamp_ns - 20_000_000, stamp_ns, count)),
        size,
    )
    points = rng.uniform((-5, -2, 2), (5, 2, 50), (count, 3)).astype(np.float32)
    data: dict[Modality, SensorData] = {
        Modality.CAMERA: rng.integers(0, 255, (*size, 3)).astype(np.uint8),
        Modality.THERMAL: rng.integers(28000, 31000, size).astype(np.uint16),
        Modality.EVENT: events,
        Modality.LIDAR: PointCloud(points, rng.random(count).astype(np.float32)),
    }
    frames = {
        modality: SensorFrame(
            modality,
            stamp_ns,
            str(modality),
            each,
            None if modality is Modality.LIDAR else view,
        )
        for modality, each in data.items()
    }
    T = np.eye(4)
    T[0, 3] = 0.1
    T_camera = {modality: T for modality in data if modality != 'camera'}
    return SensorBundle(stamp_ns, Modality.CAMERA, view, frames, T_camera=T_camera)
