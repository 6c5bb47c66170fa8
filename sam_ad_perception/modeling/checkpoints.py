"""The official SAM, SAM 2.1 and ResNet weight files, read strictly from their own key layouts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder
from torch import Tensor, nn

from sam_ad_perception.modeling.ad_sam import ResNet
from sam_ad_perception.modeling.mle_sam import MleSam
from sam_ad_perception.modeling.sam_vit import SamVit
from sam_ad_perception.modeling.zoo import CheckpointError

SAM_PREFIXES = ('image_encoder.', 'prompt_encoder.', 'mask_decoder.')
SAM2_VIDEO_PREFIXES = (
    'memory_attention.', 'memory_encoder.', 'mask_downsample.', 'obj_ptr_proj.',
    'obj_ptr_tpos_proj.', 'maskmem_tpos_enc', 'no_mem_embed', 'no_mem_pos_enc', 'no_obj_ptr',
    'no_obj_embed_spatial',
)  # fmt: skip
"""Parts of a SAM 2.1 file that only its video memory reads."""

SHORTEST_DIGEST = 8


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
    encoder: SamVit | None = None,
    prompt_encoder: PromptEncoder | None = None,
    decoder: MaskDecoder | None = None,
    sha256: str = '',
) -> None:
    """Load parts of a network from an official SAM file (`sam_vit_{b,l,h}`).

    Args:
        path: The file.
        encoder: Takes `image_encoder.`.
        prompt_encoder: Takes `prompt_encoder.`.
        decoder: Takes `mask_decoder.`; class tokens and their MLPs keep their initial values.
        sha256: Checksum, see `read_official`.

    Raises:
        CheckpointError: The file cannot be read, or is not this size of SAM.
    """
    modules = dict(zip(SAM_PREFIXES, (encoder, prompt_encoder, decoder), strict=True))
    parts = [
        Part(prefix, module, fresh=('class_tokens.', 'class_mlps.'))
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
    trunk, heads = network.encoder.trunk, network.decoder
    own_stems = isinstance(trunk.patch_embed, nn.Identity)
    parts = [
        Part('image_encoder.trunk.', trunk, spare=('patch_embed.',) if own_stems else ()),
        Part('image_encoder.neck.', network.encoder.neck),
        Part('sam_prompt_encoder.', network.prompt_encoder),
        Part(
            'sam_mask_decoder.',
            heads,
            fresh=('mask_tokens.', 'output_hypernetworks_mlps.', 'iou_prediction_head.'),
            spare=() if heads.pred_obj_scores else ('obj_score_token.', 'pred_obj_score_head.'),
        ),
    ]
    load_parts(read_official(path, sha256), parts, SAM2_VIDEO_PREFIXES, str(path))
    network.encoder.adapt_stems()


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
        CheckpointError: Missing or unexpected keys, or other shapes; the message names them.
    """
    rest = {key for key in state if not key.startswith(unread)} if unread else set(state)
    missing, shapes, moves = [], [], []
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
                moves.append((tensor, state[key]))
        left = tuple(part.prefix + start for start in (*part.spare, *part.fresh))
        rest = {key for key in rest if not key.startswith(left)} if left else rest
    if missing or rest or shapes:
        raise CheckpointError(
            f'{source} does not fit the network: missing {_some(missing)}; '
            f'unexpected {_some(sorted(rest))}; other shapes {_some(shapes)}'
        )
    with torch.no_grad():
        for target, value in moves:
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
