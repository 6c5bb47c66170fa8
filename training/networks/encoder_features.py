"""Cached features of a frozen SAM encoder, computed once and kept on disk.

AD-SAM trains beside an encoder that never changes and takes most of the time of a step. Where
frames are not changed at random, or only mirrored, each image comes again in every epoch.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from sam_ad_perception.modeling.network import SegmentationNetwork
from training.configuration.augmentation import AugmentationConfig
from training.networks.checkpoint import save_atomically

_KEY = 'features'


class RememberedFeatures:
    """The forward pass of a frozen encoder that looks into a folder first.

    Images go through the encoder one by one, so that what is kept does not depend on the batch
    in which an image first came. A file is named by the encoder's weights, the precision and the
    pixels: other weights or another size never meet an old file.

    Args:
        encoder: The encoder, frozen.
        folder: Where the files are; made if absent.
    """

    def __init__(self, encoder: nn.Module, folder: Path) -> None:
        self.encoder = encoder
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        for name, tensor in encoder.state_dict().items():
            digest.update(f'{name} {tensor.dtype}'.encode())
            digest.update(_bytes(tensor))
        self._weights = digest.hexdigest()

    def __call__(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, C, H / 16, W / 16)."""
        return torch.cat([self._look_up(image[None]) for image in images])

    def _look_up(self, image: Tensor) -> Tensor:
        kind = image.device.type
        precision = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else ''
        facts = f'{self._weights} {precision} {image.dtype} {tuple(image.shape)}'
        name = hashlib.sha256(facts.encode() + _bytes(image)).hexdigest()
        path = self.folder / f'{name}.safetensors'
        if path.exists():
            return load_file(path, device=str(image.device))[_KEY]
        with torch.no_grad():
            features: Tensor = type(self.encoder).forward(self.encoder, image)
        save_atomically(save({_KEY: features.contiguous()}), path)
        return features


def remember_features(
    network: nn.Module, folder: Path, augmentation: AugmentationConfig
) -> RememberedFeatures:
    """Let a network's frozen SAM encoder keep what it makes of each image.

    Args:
        network: An AD-SAM with a frozen encoder.
        folder: Where files are kept, one per image.
        augmentation: How the run's frames are changed.

    Returns:
        What the encoder's forward pass is now.

    Raises:
        ValueError: The network has no frozen encoder of single images, or hardly an image would
            come twice.
    """
    encoder = getattr(network, 'encoder', None)
    if not isinstance(network, SegmentationNetwork) or not isinstance(encoder, nn.Module):
        raise ValueError(f'machine.features: a {type(network).__name__} has no encoder')
    if any(p.requires_grad for p in encoder.parameters()):
        raise ValueError('machine.features: the encoder is trained, so its features change')
    if not augmentation.repeats:
        raise ValueError(
            'machine.features: augmentation may mirror frames and do nothing else, for every '
            'other change gives an image that never comes again; set vary: false, scales '
            '[1.0, 1.0], colour, blur, faults and corruption to nothing'
        )
    remembered = RememberedFeatures(encoder, folder)
    vars(encoder)['forward'] = remembered
    return remembered


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
