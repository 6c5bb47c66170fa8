"""The base class of all segmentation networks: inputs by sensor, logits out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor, nn


class NetworkOutput(Protocol):
    """What every network returns; a network's own result may hold more."""

    @property
    def logits(self) -> Tensor:
        """(B, classes, h, w), whose grid spans the input."""

    @property
    def aux_logits(self) -> Tensor | None:
        """The same of a second head; None where there is none or it did not run."""

    @property
    def gate(self) -> Tensor | None:
        """(L, B, M) weights of the M modalities at L levels, sum 1 over M; None without a gate."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """The M modalities that entered the network, in the order of `gate`."""


@runtime_checkable
class OwnLoss(Protocol):
    """An output with a loss of its own, beside that of its masks."""

    def own_loss(self) -> Tensor:
        """A scalar that training adds to the loss of the masks."""


class Shareable:
    """A frozen module that several networks may hold at once.

    Attributes:
        shared: Whether they do.
        loaded_from: File of the network whose weights it has, see `checkpoints.load_state`;
            empty where none was loaded.
    """

    shared: bool = False
    loaded_from: str = ''


class SegmentationNetwork(nn.Module, ABC):
    """A network of the zoo: images of the same view in, logits out."""

    @abstractmethod
    def forward(self, inputs: Mapping[str, Tensor], *, with_aux: bool = True) -> NetworkOutput:
        """Segment a batch in which every item has the same sensors.

        Args:
            inputs: Image (B, C, H, W) of each present modality, normalised, sides multiples of
                32.
            with_aux: Whether to compute what only training or a mean of heads reads.

        Returns:
            The logits and the network's own extras.

        Raises:
            ValueError: A modality that the network does not take, one that it needs is absent,
                or a wrong shape.
        """
