"""Cache of encoder outputs, shared by all measurements of one frame."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sam_ad_perception.modeling.inference.expert_network import ExpertNetwork
from sam_ad_perception.modeling.network import SegmentationNetwork
from sam_ad_perception.modeling.networks.mle_sam import MleSam
from sam_ad_perception.modeling.runtimes.backends import Backend, Images, OnProgress, Prediction

KEPT = 16
_KEPT_RUNS = 64


class SharedEncodings(nn.Module):
    """MLE-SAM's encoder, which remembers the images that it has seen last.

    The encoder sees the sensors apart from each other, so what it makes of one does not depend on
    the others; only rounding differs, since operators block other batch sizes in other ways.

    Args:
        encoder: The encoder, in inference mode.

    Attributes:
        enabled: Whether anything is remembered or used; without it, the encoder runs as ever.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.enabled = True
        self._known: OrderedDict[tuple[str, bytes], list[Tensor]] = OrderedDict()

    def forward(self, inputs: Sequence[tuple[str, Tensor]]) -> list[Tensor]:
        """See `HieraEncoder.forward`."""
        if not self.enabled:
            made: list[Tensor] = self.encoder(inputs)
            return made
        each = [self._encode(name, image) for name, image in inputs]
        return [torch.cat(levels) for levels in zip(*each, strict=True)]

    def _encode(self, name: str, image: Tensor) -> list[Tensor]:
        key = (name, _digest(image.contiguous().cpu().numpy()))
        if key not in self._known:
            self._known[key] = self.encoder([(name, image)])
        self._known.move_to_end(key)
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        return self._known[key]


class SharedRuns:
    """A backend that remembers what it has made of the inputs that it has seen last.

    Args:
        backend: What runs the network.

    Attributes:
        enabled: Whether anything is remembered or used.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.enabled = True
        self._known: OrderedDict[tuple[tuple[str, bytes], ...], Prediction] = OrderedDict()

    def prepare(self, sets: Sequence[Sequence[str]], on_progress: OnProgress) -> None:
        """See `Backend.prepare`."""
        self.backend.prepare(sets, on_progress)

    def run(self, inputs: Images) -> Prediction:
        """See `Backend.run`."""
        if not self.enabled:
            return self.backend.run(inputs)
        key = tuple((name, _digest(image.cpu().numpy())) for name, image in inputs.items())
        if key not in self._known:
            self._known[key] = self.backend.run(inputs)
        self._known.move_to_end(key)
        while len(self._known) > _KEPT_RUNS:
            self._known.popitem(last=False)
        return self._known[key]


def share_runs(expert: ExpertNetwork) -> SharedRuns:
    """Let a network remember what it has answered, for all who measure it.

    Args:
        expert: The network; its backend is replaced.

    Returns:
        What remembers.
    """
    shared = SharedRuns(expert.backend)
    expert.backend = shared
    return shared


def _digest(image: NDArray[np.float32]) -> bytes:
    content = np.ascontiguousarray(image).view('u1').data
    return hashlib.blake2b(content, digest_size=16).digest()


def share_encodings(network: SegmentationNetwork) -> SharedEncodings | None:
    """Let a network remember what it has encoded.

    Args:
        network: The network; an MLE-SAM's encoder is replaced.

    Returns:
        What remembers; None for other networks, whose encoders see all sensors together.
    """
    if not isinstance(network, MleSam):
        return None
    shared = SharedEncodings(network.encoder)
    network.encoder = shared  # type: ignore[assignment]
    return shared
