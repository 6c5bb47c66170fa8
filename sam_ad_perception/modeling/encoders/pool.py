"""SAM encoders, built once and shared where frozen.

The encoders themselves are imported when one is built: they bring torchvision, which takes two
seconds that a network without them need not wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, Union

import torch

from sam_ad_perception.modeling.encoders.specs import (
    SAM_VIT_SPECS,
    TINY_VIT_SPECS,
    SamBackboneSpec,
)

if TYPE_CHECKING:
    from sam_ad_perception.modeling.encoders.sam_vit import SamVit
    from sam_ad_perception.modeling.encoders.tiny_vit import TinyVit

SamEncoder: TypeAlias = Union['SamVit', 'TinyVit']
"""An image encoder of the SAM family: images to (B, out_channels, H / 16, W / 16)."""


class EncoderPool:
    """SAM encoders by what they are: networks that want the same frozen one share one object."""

    def __init__(self) -> None:
        self._frozen: dict[tuple[str, bool], SamEncoder] = {}
        self._users: dict[tuple[str, bool], int] = {}

    def build(self, spec: SamBackboneSpec) -> SamEncoder:
        """Build an encoder, or hand out the frozen one that was built before.

        Recomputing blocks changes no number, so it does not keep networks from sharing: it is
        on as soon as one of them wants it, and costs the others nothing.

        Args:
            spec: Which one.

        Returns:
            The encoder. One that is trained is never shared.
        """
        key = (spec.size, spec.half)
        if spec.freeze and key in self._frozen:
            encoder = self._frozen[key]
            encoder.shared = True
            encoder.checkpoint_blocks |= spec.checkpoint_blocks
            self._users[key] += 1
            return encoder
        encoder = build_encoder(spec)
        if spec.freeze:
            self._frozen[key] = encoder.freeze(torch.bfloat16 if spec.half else None)
            self._users[key] = 1
        return encoder

    @property
    def saved_bytes(self) -> int:
        """Memory that the sharing saves, over an encoder of its own for each network."""
        return sum(
            (self._users[key] - 1) * p.numel() * p.element_size()
            for key, encoder in self._frozen.items()
            for p in encoder.parameters()
        )


def build_encoder(spec: SamBackboneSpec) -> SamEncoder:
    """Build an encoder with fresh weights, not frozen.

    Args:
        spec: Which one.

    Returns:
        The encoder.
    """
    if spec.size in TINY_VIT_SPECS:
        from sam_ad_perception.modeling.encoders.tiny_vit import TinyVit

        return TinyVit(TINY_VIT_SPECS[spec.size], checkpoint_blocks=spec.checkpoint_blocks)
    from sam_ad_perception.modeling.encoders.sam_vit import SamVit

    return SamVit(SAM_VIT_SPECS[spec.size], checkpoint_blocks=spec.checkpoint_blocks)
