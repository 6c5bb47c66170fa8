"""The official weights that each network starts its training from."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from sam_ad_perception.modeling.ad_sam import AdSam
from sam_ad_perception.modeling.architectures import AdSamArguments
from sam_ad_perception.modeling.checkpoints import (
    CheckpointError,
    load_resnet,
    load_sam,
    load_sam2,
)
from sam_ad_perception.modeling.fusion_sam import FusionSam
from sam_ad_perception.modeling.mle_sam import MleSam
from sam_ad_perception.modeling.weights import WEIGHT_FILES
from sam_ad_perception.modeling.zoo import ModelSpec


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
    path = _find(folder / official.file, spec)
    if isinstance(network, MleSam):
        load_sam2(path, network, official.sha256)
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
        resnet = WEIGHT_FILES[spec.arguments.resnet_weights]
        load_resnet(_find(folder / resnet.name, spec), network.resnet, resnet.sha256)
        names.append(resnet.name)
    return tuple(names)


def _find(path: Path, spec: ModelSpec) -> Path:
    if not path.is_file():
        raise CheckpointError(
            f'cannot read {path}, which {spec.key} starts from: no such file; '
            f'to fetch it: {spec.backbone.note or spec.backbone.url}'
        )
    return path
