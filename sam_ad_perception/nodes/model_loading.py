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

from sam_ad_perception.core.depth import warm_up as warm_up_depth
from sam_ad_perception.core.routing_table import load_routing_table
from sam_ad_perception.core.sensors import (
    CameraModel,
    Events,
    Modality,
    PointCloud,
    SensorBundle,
    SensorData,
    SensorFrame,
)
from sam_ad_perception.nodes.configuration import ModelConfig, SegmentationConfig
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


def load_model(config: SegmentationConfig, tell: Callable[[str], object]) -> LoadedModel:
    """Load the networks and run each once, so that the first frame is not the slowest.

    Args:
        config: Which networks, from where, on what; and how sensors are judged.
        tell: Told in words what happens now.

    Returns:
        The networks.

    Raises:
        ValueError: No such entry, a wrong checkpoint, or a wrong routing table.
        OSError: A file cannot be read.
        RuntimeError: The device is not there.
    """
    tell('importing torch')
    import sam_ad_perception.modeling.segmenter  # noqa: F401  the slow part of the next step

    tell(f'loading {config.model.key}')
    segmenter = make_segmenter(config)
    for key, why in segmenter.unusable.items():
        tell(f'without {key}: {why}')
    segmenter.build(tell)
    bundle = sample_bundle()
    tell(f'warming up {", ".join(segmenter.experts)}')
    segmenter.warm_up(bundle.camera)
    segmenter.segment([bundle])
    warm_up_depth()
    segmenter.reset()
    return LoadedModel(segmenter, segmenter.labels)


def make_segmenter(config: SegmentationConfig) -> Segmenter:
    """Build the segmenter that a configuration asks for: the same for a vehicle and for a bag.

    Args:
        config: The parameters of the segmentation node.

    Returns:
        The segmenter.

    Raises:
        ValueError: No such entry, a wrong checkpoint, or a wrong routing table.
        OSError: A file cannot be read.
    """
    from sam_ad_perception.modeling.backends import BackendConfig
    from sam_ad_perception.modeling.segmenter import Segmenter

    model = config.model
    keys = [key.strip() for key in model.key.split(',') if key.strip()]
    if not keys:
        raise ValueError(f'model.key must name an entry of the zoo, got {model.key!r}')
    zoo, checkpoints = model_files(model)
    table = load_routing_table(Path(model.routing_table)) if model.routing_table else None
    return Segmenter.from_zoo(
        zoo,
        keys,
        checkpoints,
        model.device,
        threads=model.threads or None,
        depth=config.lidar_depth,
        health=config.health,
        routing=config.routing,
        table=table,
        backend=BackendConfig(
            model.backend,
            model.providers,
            model.half,
            Path(model.cache_dir) if model.cache_dir else None,
        ),
    )


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
