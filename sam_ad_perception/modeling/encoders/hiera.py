"""SAM 2's Hiera and its neck, from the official package, for any number of modalities.

Hiera: arXiv 2306.00989; SAM 2: arXiv 2408.00714. Attention already goes through
`scaled_dot_product_attention` in the official module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from sam2.modeling.backbones.hieradet import Hiera
from sam2.modeling.backbones.image_encoder import FpnNeck
from sam2.modeling.backbones.utils import PatchEmbed
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sam_ad_perception.modeling.encoders.lora import ActiveModalities, LoraQkv, LoraSpec
from sam_ad_perception.modeling.encoders.specs import check_sides

STEMS = ('shared', 'own', 'conv')


@dataclass(frozen=True)
class HieraSpec:
    """Everything that fixes a Hiera with its neck.

    Attributes:
        embed_dim: Channels of the first stage; they double at each later one.
        num_heads: Attention heads of the first stage; they double likewise.
        stages: Blocks per stage (strides 4, 8, 16, 32).
        global_blocks: Blocks that attend over the whole image instead of a window.
        window_spec: Side of the attention window per stage, tokens.
        pos_embed_size: `(H, W)` of the learned position grid that is resized to the input.
        neck_dim: Channels of the neck's output.
        drop_path_rate: Stochastic depth of the last block.
        stem: First layer. `shared`: the official patch embedding serves all 3-channel
            modalities, others get their own with the same kernel. `own`: one official patch
            embedding per modality. `conv`: per modality three 3x3 convolutions with the same
            stride of 4, which learn faster from few images.

    Raises:
        ValueError: A field is out of range.
    """

    embed_dim: int
    num_heads: int
    stages: tuple[int, int, int, int]
    global_blocks: tuple[int, ...]
    window_spec: tuple[int, int, int, int] = (8, 4, 14, 7)
    pos_embed_size: tuple[int, int] = (14, 14)
    neck_dim: int = 256
    drop_path_rate: float = 0.0
    stem: str = 'shared'

    def __post_init__(self) -> None:
        if self.stem not in STEMS:
            raise ValueError(f'encoder.stem must be one of {STEMS}, got {self.stem!r}')
        if len(self.stages) != 4 or min(self.stages) < 1:
            raise ValueError(f'encoder.stages must be four positive counts, got {self.stages}')
        firsts = {sum(self.stages[:stage]) for stage in (1, 2, 3)}
        if firsts & set(self.global_blocks):
            raise ValueError(
                f'encoder.global_blocks {self.global_blocks} must not hold the first block of a '
                f'later stage {sorted(firsts)}: Hiera pools inside windows there'
            )
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f'encoder.embed_dim {self.embed_dim} is not a multiple of num_heads '
                f'{self.num_heads}'
            )


HIERA_SPECS: Mapping[str, HieraSpec] = {
    'tiny': HieraSpec(96, 1, (1, 2, 7, 2), (5, 7, 9), pos_embed_size=(7, 7)),
    'small': HieraSpec(96, 1, (1, 2, 11, 2), (7, 10, 13), pos_embed_size=(7, 7)),
    'base_plus': HieraSpec(112, 2, (2, 3, 16, 3), (12, 16, 20)),
    'large': HieraSpec(144, 2, (2, 6, 36, 4), (23, 33, 43), (8, 4, 16, 8), (7, 7)),
    'demo': HieraSpec(32, 1, (2, 2, 4, 2), (5, 6, 7, 9), (8, 4, 8, 8), (10, 16), 128, 0.0, 'conv'),
    'micro': HieraSpec(8, 1, (1, 1, 2, 1), (3,), (8, 4, 4, 4), (2, 2), 16, 0.0, 'conv'),
}
"""The four official sizes, the demo's, and one for tests."""


class ConvStem(nn.Module):
    """Three 3x3 convolutions that bring a sensor image to stride 4.

    Args:
        channels: Channels of the sensor image.
        embed_dim: Channels of the first stage.
    """

    def __init__(self, channels: int, embed_dim: int) -> None:
        super().__init__()
        half = embed_dim // 2
        self.layers = nn.Sequential(
            nn.Conv2d(channels, half, 3, stride=2, padding=1),
            nn.GroupNorm(1, half),
            nn.GELU(),
            nn.Conv2d(half, embed_dim, 3, stride=2, padding=1),
            nn.GroupNorm(1, embed_dim),
            nn.GELU(),
            nn.Conv2d(embed_dim, embed_dim, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, H/4, W/4, embed_dim)."""
        return self.layers(x).permute(0, 2, 3, 1)


class NoPosition(nn.Module):
    """Fills the neck's slot for position codes, which only SAM 2's video memory would read."""

    def forward(self, x: Tensor) -> Tensor:
        """Return an empty tensor."""
        return x.new_empty(0)


class _NumbersOnCpu(TorchFunctionMode):
    """Keeps `linspace` on the CPU: Hiera reads numbers from one while it is built."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call `func`."""
        kwargs = kwargs or {}
        if func is torch.linspace:
            kwargs = {**kwargs, 'device': 'cpu'}
        return func(*args, **kwargs)


def build_trunk(spec: HieraSpec) -> Hiera:
    """Build the official Hiera, on the default device, be it `meta`.

    Args:
        spec: Its shape.

    Returns:
        The module with fresh weights.
    """
    with _NumbersOnCpu():  # a meta tensor has none
        return Hiera(
            embed_dim=spec.embed_dim,
            num_heads=spec.num_heads,
            drop_path_rate=spec.drop_path_rate,
            stages=spec.stages,
            global_att_blocks=spec.global_blocks,
            window_spec=spec.window_spec,
            window_pos_embed_bkg_spatial_size=spec.pos_embed_size,
        )


class HieraEncoder(nn.Module):
    """One Hiera that sees every modality: own first layer, shared blocks, own adapters.

    All present modalities run as one batch. The neck adds the top-down path on its two deepest
    levels only, nearest neighbour (Eq. 6), and its coarsest level is dropped, as in SAM 2.

    Args:
        spec: Shape of Hiera and neck.
        channels: Channels of each registered modality's image.
        lora: Shape of the adapters.
    """

    def __init__(self, spec: HieraSpec, channels: Mapping[str, int], lora: LoraSpec) -> None:
        super().__init__()
        if not channels:
            raise ValueError('an encoder needs at least one modality, got none')
        self.spec = spec
        self.trunk = build_trunk(spec)
        self.neck = FpnNeck(
            position_encoding=NoPosition(),
            d_model=spec.neck_dim,
            backbone_channel_list=self.trunk.channel_list,
            fpn_top_down_levels=[2, 3],
            fpn_interp_model='nearest',
        )
        self.stems = nn.ModuleDict()
        for name, count in channels.items():
            if spec.stem == 'conv':
                self.stems[name] = ConvStem(count, spec.embed_dim)
            elif spec.stem == 'own' or count != 3:
                self.stems[name] = PatchEmbed(in_chans=count, embed_dim=spec.embed_dim)
        if all(name in self.stems for name in channels):
            self.trunk.patch_embed = nn.Identity()
        self._resized: tuple[tuple[object, ...], Tensor] | None = None
        self.active = ActiveModalities()
        if lora.rank > 0:
            for block in self.trunk.blocks:
                block.attn.qkv = LoraQkv(block.attn.qkv, tuple(channels), lora, self.active)

    def forward(self, inputs: Sequence[tuple[str, Tensor]]) -> list[Tensor]:
        """Encode the present modalities as one batch.

        Args:
            inputs: Modality and image (B, C, H, W) of each present sensor, sides multiples of 32.

        Returns:
            Three levels at strides 4, 8 and 16, each (M, B, neck_dim, h, w).

        Raises:
            ValueError: A side is not a multiple of 32.
        """
        check_sides(inputs[0][1].shape, 'Hiera')
        self.active.names = tuple(name for name, _ in inputs)
        stems = self.stems
        tokens = [
            stems[name](image) if name in stems else self.trunk.patch_embed(image)
            for name, image in inputs
        ]
        x = torch.cat(tokens)
        x = x + self._position((x.shape[1], x.shape[2]))
        stages = []
        for index, block in enumerate(self.trunk.blocks):
            x = block(x)
            if index in self.trunk.stage_ends:
                stages.append(x.permute(0, 3, 1, 2))
        levels, _ = self.neck(stages)
        return [level.unflatten(0, (len(inputs), -1)) for level in levels[:3]]

    def _position(self, size: tuple[int, int]) -> Tensor:
        """Position code (1, h, w, embed_dim); a drive resizes it once, not for each frame."""
        learned = (self.trunk.pos_embed, self.trunk.pos_embed_window)
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            made: Tensor = self.trunk._get_pos_embed(size)
            return made
        key = (size, *((p.data_ptr(), p._version, p.dtype, p.device) for p in learned))
        if self._resized is None or self._resized[0] != key:
            self._resized = key, self.trunk._get_pos_embed(size).contiguous()
        return self._resized[1]

    def adapt_stems(self) -> None:
        """Initialise the first layers of other channel counts from the official RGB one.

        Each input channel gets the mean over R, G, B, scaled so that a grey image gives the
        official layer's response. Call after the official weights were loaded.
        """
        source = self.trunk.patch_embed
        if not isinstance(source, PatchEmbed):
            return
        for stem in self.stems.values():
            if isinstance(stem, PatchEmbed):
                count = stem.proj.in_channels
                mean = source.proj.weight.detach().mean(dim=1, keepdim=True)
                with torch.no_grad():
                    stem.proj.weight.copy_(mean.repeat(1, count, 1, 1) * (3 / count))
                    stem.proj.bias.copy_(source.proj.bias)
