"""Loading the network of the segmentation node and warming up all that a frame runs through.

torch is imported here and not before: a node that is only asked for its parameters starts fast.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sam_ad_perception.core.images.area_resize import warm_up as warm_up_pictures
from sam_ad_perception.core.lidar.depth_image import warm_up as warm_up_depth
from sam_ad_perception.core.routing.table import load_routing_table
from sam_ad_perception.core.selections.messages import warm_up as warm_up_selections
from sam_ad_perception.core.sensors import (
    CameraModel,
    Modality,
    SensorBundle,
    SensorFrame,
)
from sam_ad_perception.modeling.zoo.files import find_network, zoo_files
from sam_ad_perception.nodes.ros.configuration import ModelConfig, SegmentationConfig

if TYPE_CHECKING:
    from sam_ad_perception.core.labels import LabelSpace
    from sam_ad_perception.modeling.inference.segmenter import Segmenter


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A network that is ready.

    Attributes:
        segmenter: Runs it.
        labels: The classes of its masks.
    """

    segmenter: Segmenter
    labels: LabelSpace


def load_model(config: SegmentationConfig, on_progress: Callable[[str], object]) -> LoadedModel:
    """Load the networks and run each once, so that the first frame is not the slowest.

    Args:
        config: Which networks, from where, on what; and how sensors are judged.
        on_progress: Told in words what happens now.

    Returns:
        The networks.

    Raises:
        ValueError: No such entry, a wrong checkpoint, or a wrong routing table.
        OSError: A file cannot be read.
    """
    on_progress('importing torch')
    import sam_ad_perception.modeling.inference.segmenter  # noqa: F401  the slow part of the next step

    on_progress(f'loading {config.model.key}')
    segmenter = make_segmenter(config)
    for key, why in segmenter.unusable.items():
        on_progress(f'without {key}: {why}')
    segmenter.build(on_progress)
    bundle = sample_bundle()
    on_progress(f'warming up {", ".join(segmenter.experts)}')
    segmenter.warm_up(bundle.camera)
    segmenter.segment([bundle])
    warm_up_pictures()
    warm_up_depth()
    warm_up_selections()
    segmenter.reset()
    return LoadedModel(segmenter, segmenter.labels)


def check_model(config: ModelConfig) -> None:
    """Refuse a choice that cannot be followed, before a recording is opened.

    Args:
        config: What the user chose.

    Raises:
        ValueError: The zoo has no such entry, or the device is not there.
        OSError: The zoo cannot be read.
    """
    from sam_ad_perception.modeling.devices import check_device
    from sam_ad_perception.modeling.zoo.entries import check_key, load_zoo

    check_device(config.device)
    model = locate_model(config)
    path, _ = model_files(model)
    zoo = load_zoo(path)
    for key in _keys(model):
        check_key(zoo, key, path)


def _keys(model: ModelConfig) -> list[str]:
    """The entries that `model.key` names."""
    keys = [key.strip() for key in model.key.split(',') if key.strip()]
    if not keys:
        raise ValueError(f'model.key must name an entry of the zoo, got {model.key!r}')
    return keys


def make_segmenter(config: SegmentationConfig) -> Segmenter:
    """Build the segmenter that a configuration asks for: the same for a vehicle and for a bag.

    Args:
        config: The parameters of the segmentation node.

    Returns:
        The segmenter.

    Raises:
        ValueError: No such entry, no such device, a wrong checkpoint, or a wrong routing table.
        OSError: A file cannot be read.
    """
    from sam_ad_perception.modeling.devices import check_device
    from sam_ad_perception.modeling.inference.segmenter import Segmenter
    from sam_ad_perception.modeling.runtimes.backends import BackendConfig

    model = locate_model(config.model)
    check_device(model.device)
    keys = _keys(model)
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
        ground=config.ground,
        stability=config.stability,
        routing=config.routing,
        table=table,
        backend=BackendConfig(
            model.backend,
            model.providers,
            model.half,
            Path(model.cache_dir) if model.cache_dir else None,
        ),
        sensors=config.sensors,
    )


def locate_model(config: ModelConfig) -> ModelConfig:
    """Take zoo, checkpoints and key out of a file or folder that `key` names.

    Args:
        config: What the user chose.

    Returns:
        The same where `key` names entries of the zoo.

    Raises:
        ValueError: The file carries no entry.
        OSError: It cannot be read.
    """
    named = find_network(config.key)
    if named is None:
        return config
    zoo, checkpoints, keys = named
    return replace(
        config,
        key=','.join(keys),
        zoo=str(zoo.resolve()),
        checkpoint_dir=config.checkpoint_dir or str(checkpoints.resolve()),
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
    config = locate_model(config)
    return zoo_files(config.zoo, config.checkpoint_dir)


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
    frames = {}
    for modality in Modality:
        record = modality.record
        if record.sample is not None:
            data = record.call('sample', rng, size, stamp_ns)
            geometry = view if record.has_lens else None
            frames[modality] = SensorFrame(modality, stamp_ns, str(modality), data, geometry)
    T = np.eye(4)
    T[0, 3] = 0.1
    T_camera = {modality: T for modality in frames if modality is not Modality.CAMERA}
    return SensorBundle(stamp_ns, Modality.CAMERA, view, frames, T_camera=T_camera)
