"""Low-rank adapters on the query and value projections, one per modality, applied in one batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

LORA_DIMS = ('in', 'out')


@dataclass(frozen=True)
class LoraSpec:
    """Shape of the adapters (papers' defaults: rank 32, scale 1, no alpha).

    Attributes:
        rank: Rank r of every adapter; 0 switches adapters off.
        dims: `out` adapts all rows of q and v. `in` adapts only as many rows as the layer has
            inputs (the first of q, the last of v), which at a stage transition, where a layer
            doubles its width, is one half: the published parameter count needs this form.

    Raises:
        ValueError: A field is out of range.
    """

    rank: int = 32
    dims: str = 'out'

    def __post_init__(self) -> None:
        if self.rank < 0:
            raise ValueError(f'lora.rank must be 0 or more, got {self.rank}')
        if self.dims not in LORA_DIMS:
            raise ValueError(f'lora.dims must be one of {LORA_DIMS}, got {self.dims!r}')


class ActiveModalities:
    """Which modalities the current batch holds, in order; shared by all adapters of an encoder.

    The official Hiera blocks pass nothing but the tensor on, so the batch's layout travels here.
    """

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()


class LoraQkv(nn.Module):
    """The `qkv` layer of one attention block, with one adapter pair per modality (Eq. 4-5).

    For modality m: Q' = Q + B_q A_q x and V' = V + B_v A_v x, K untouched. The batch is the
    concatenation of equally many images of each active modality. The adapted weight of each
    modality is formed first (it is small) and applied to its slice by one batched product, so
    the low-rank path never touches the tokens, and merged weights give the same numbers.

    Args:
        base: The layer that the adapters extend, `Linear(in, 3 * out)`.
        modalities: Registered modalities.
        spec: Shape of the adapters; the rank must be positive.
        active: The layout of the batch, shared over the encoder.
    """

    def __init__(
        self, base: nn.Linear, modalities: Sequence[str], spec: LoraSpec, active: ActiveModalities
    ) -> None:
        super().__init__()
        self.base = base
        self.active = active
        self.rows = base.out_features // 3 if spec.dims == 'out' else base.in_features
        shape_a, shape_b = (spec.rank, base.in_features), (self.rows, spec.rank)
        like = base.weight
        self.a_q = _parameters(modalities, shape_a, like)
        self.b_q = _parameters(modalities, shape_b, like)
        self.a_v = _parameters(modalities, shape_a, like)
        self.b_v = _parameters(modalities, shape_b, like)
        for table in (self.a_q, self.a_v):
            for a in table.values():
                nn.init.kaiming_uniform_(a, a=math.sqrt(5))
        self.slots = {name: slot for slot, name in enumerate(modalities)}
        self._merged: Tensor | None = None

    def adapted_weight(self, modality: str) -> Tensor:
        """Weight of the layer as `modality` sees it: W + [B_q A_q; 0; B_v A_v].

        Args:
            modality: A registered modality.

        Returns:
            (3 * out, in) tensor.
        """
        if self._merged is not None:
            return self._merged[self.slots[modality]]
        delta_q = self.b_q[modality] @ self.a_q[modality]
        delta_v = self.b_v[modality] @ self.a_v[modality]
        rest = self.base.out_features - 2 * self.rows
        middle = delta_q.new_zeros(rest, self.base.in_features)
        return self.base.weight + torch.cat((delta_q, middle, delta_v))

    def merge(self) -> None:
        """Keep the adapted weights, for inference; a later change of parameters is not seen."""
        self.unmerge()
        with torch.no_grad():
            self._merged = torch.stack([self.adapted_weight(m) for m in self.slots])

    def unmerge(self) -> None:
        """Return to forming the adapted weights at each call."""
        self._merged = None

    def _adapted_weights(self, modalities: Sequence[str]) -> Tensor:
        """Stack the adapted weights; merged ones of neighbours are a view of what is kept."""
        if self._merged is None:
            return torch.stack([self.adapted_weight(m) for m in modalities])
        slots = [self.slots[m] for m in modalities]
        if slots == list(range(slots[0], slots[0] + len(slots))):
            return self._merged[slots[0] : slots[0] + len(slots)]
        return self._merged[slots]

    def forward(self, x: Tensor) -> Tensor:
        """Project tokens to q, k, v.

        Args:
            x: (M * N, ..., in), the slices of the M active modalities one after the other.

        Returns:
            (M * N, ..., 3 * out).
        """
        names = self.active.names
        if len(names) == 1:
            return nn.functional.linear(x, self.adapted_weight(names[0]), self.base.bias)
        out = torch.baddbmm(
            self.base.bias.expand(len(names), 1, -1),
            x.reshape(len(names), -1, x.shape[-1]),
            self._adapted_weights(names).transpose(1, 2),
        )
        return out.reshape(*x.shape[:-1], -1)


def _parameters(
    modalities: Sequence[str], shape: tuple[int, int], like: Tensor
) -> nn.ParameterDict:
    zeros = {m: nn.Parameter(torch.zeros(shape, device=like.device)) for m in modalities}
    return nn.ParameterDict(zeros)


def merge_lora(module: nn.Module) -> None:
    """Merge every adapter inside a module (`LoraQkv.merge`).

    Args:
        module: Any module.
    """
    for layer in module.modules():
        if isinstance(layer, LoraQkv):
            layer.merge()
