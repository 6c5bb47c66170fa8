"""A network of one convolution per sensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from sam_ad_perception.modeling.network import SegmentationNetwork
from sam_ad_perception.modeling.networks.registry import NetworkKind


@dataclass(frozen=True)
class ToyArguments:
    """What `Toy` is built from: its width."""

    width: int = 8


class ToyOutput(NamedTuple):
    """See `modeling.network.NetworkOutput`."""

    logits: Tensor
    aux_logits: Tensor | None
    gate: Tensor | None
    modalities: tuple[str, ...]


class Toy(SegmentationNetwork):
    """Sums features of the sensors that are there."""

    def __init__(self, channels: Mapping[str, int], classes: int, width: int) -> None:
        super().__init__()
        self.stems = nn.ModuleDict(
            {name: nn.Conv2d(count, width, 4, stride=4) for name, count in channels.items()}
        )
        self.head = nn.Sequential(
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(width, classes, 1),
        )

    def forward(self, inputs: Mapping[str, Tensor], *, with_aux: bool = True) -> ToyOutput:
        """See `SegmentationNetwork.forward`."""
        names = tuple(name for name in self.stems if name in inputs)
        if not names:
            raise ValueError(f'inputs must hold one of {list(self.stems)}, got {list(inputs)}')
        features = [self.stems[name](inputs[name]) for name in names]
        total = features[0]
        for more in features[1:]:
            total = total + more
        return ToyOutput(self.head(total), None, None, names)


def build(spec: Any, pool: object) -> Toy:
    """Build the network of a zoo entry."""
    return Toy(spec.channels, len(spec.labels.classes), spec.arguments.width)


TOY = NetworkKind(ToyArguments, build, zoo=Path(__file__).parent / 'zoo.yaml')
