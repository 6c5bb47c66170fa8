"""Networks of the zoo with their weights, by the names of entries or by what export wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from sam_ad_perception.core.routing.router import ExpertSpec
from sam_ad_perception.modeling.encoders.pool import EncoderPool
from sam_ad_perception.modeling.inference.expert_network import ExpertNetwork, load_expert
from sam_ad_perception.modeling.runtimes.backends import BackendConfig
from sam_ad_perception.modeling.zoo.entries import check_key, load_zoo
from sam_ad_perception.modeling.zoo.files import find_network, zoo_files


def load_experts(
    zoo_path: Path,
    keys: str | Sequence[str],
    checkpoint_dir: Path,
    device: torch.device | str = 'cpu',
    threads: int | None = None,
    pool: EncoderPool | None = None,
    backend: BackendConfig | None = None,
) -> tuple[list[ExpertNetwork], list[ExpertSpec]]:
    """Build networks of the zoo and load their checkpoints.

    Args:
        zoo_path: `zoo.yaml`.
        keys: One entry, or several; of several, those that do not load are left to the router
            as unusable.
        checkpoint_dir: Folder of the checkpoint files.
        device: Where the networks run.
        threads: Threads of the CPU operators of this process; None keeps torch's number.
        pool: Frozen SAM encoders that several segmenters share; None makes one for the networks
            here.
        backend: How the networks run; torch where None.

    Returns:
        The networks, at least one, and those that do not load with the reason.

    Raises:
        ValueError: No such entry, or no entry that loads: the reason of each.
        OSError: The zoo cannot be read.
    """
    zoo = load_zoo(zoo_path)
    names = [keys] if isinstance(keys, str) else list(keys)
    for name in names:
        check_key(zoo, name, zoo_path)
    if threads is not None:
        if threads < 1:
            raise ValueError(f'threads must be 1 or more, got {threads}')
        torch.set_num_threads(threads)
    pool = pool or EncoderPool()
    experts: list[ExpertNetwork] = []
    unusable: list[ExpertSpec] = []
    for name in names:
        try:
            experts.append(load_expert(zoo, name, checkpoint_dir, device, pool, backend))
        except (ValueError, OSError) as err:
            if len(names) == 1:
                raise
            spec = zoo[name]
            unusable.append(ExpertSpec(name, tuple(spec.inputs), spec.required, str(err)))
    if not experts:
        raise ValueError('; '.join(f'{role.key}: {role.unusable}' for role in unusable))
    return experts, unusable


def find_entries(
    source: str | Path, checkpoint_dir: str | Path = ''
) -> tuple[Path, Path, list[str]]:
    """Find the zoo file, the checkpoints and the entries that a name stands for.

    Args:
        source: See `Segmenter.from_pretrained`.
        checkpoint_dir: Folder of the checkpoint files; empty for the one that belongs to `source`.

    Returns:
        The zoo file, the folder of checkpoints, and the keys of the entries, at least one.

    Raises:
        ValueError: It names no network.
    """
    named = find_network(str(source))
    if named is not None:
        zoo, folder, keys = named
        folder = Path(checkpoint_dir) if checkpoint_dir else folder
    else:
        zoo, folder = zoo_files('', checkpoint_dir)
        keys = [key.strip() for key in str(source).split(',') if key.strip()]
    if not keys:
        raise ValueError(f'{str(source)!r} names no network; `sam_ad models` lists them')
    return zoo, folder, list(keys)
