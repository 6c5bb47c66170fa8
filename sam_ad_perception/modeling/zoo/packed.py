"""Weights that carry their entry of the zoo and the meaning of their ids: one file is all.

The entry stands as JSON in the header of the safetensors file, so that it is read without the
weights and without torch.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sam_ad_perception.core.label_files import label_space_values
from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.settings.yaml_documents import read_yaml

SUFFIX = '.safetensors'
METADATA_KEY = 'sam_ad_perception'
_OF_OTHER_WEIGHTS = ('checkpoint', 'results', 'backbone', 'temperatures')
MOST_HEADER = 100_000_000
"""Bytes that the header of a safetensors file has at most, as its format says."""


def pack_entry(entry: Mapping[str, Any], key: str, space: LabelSpace) -> dict[str, str]:
    """Write an entry as metadata of a weight file.

    Args:
        entry: As it stands in a zoo file.
        key: Its key.
        space: The classes of its masks.

    Returns:
        The metadata.
    """
    values = {k: v for k, v in entry.items() if k not in _OF_OTHER_WEIGHTS}
    values['label_space'] = label_space_values(space)
    return {METADATA_KEY: json.dumps({'models': {key: values}}, sort_keys=True)}


def read_entries(path: Path) -> dict[str, Any]:
    """Read the entries of a zoo file, or the one that a weight file carries.

    Args:
        path: `zoo.yaml`, or a safetensors file.

    Returns:
        Key to entry, as plain values; the checkpoint of a weight file is itself.

    Raises:
        ValueError: The file is neither; the message says what it lacks.
        OSError: It cannot be read.
    """
    if path.suffix != SUFFIX:
        content = read_yaml(path)
        if not isinstance(content, dict) or set(content) != {'models'}:
            raise ValueError(f'{path} must hold exactly one key, `models`')
        return dict(content['models'])
    text = _read_metadata(path).get(METADATA_KEY)
    if text is None:
        raise ValueError(
            f'{path} does not carry its entry of the zoo: export it with `sam_ad export`, or '
            'name its zoo file and entry'
        )
    try:
        entries = dict(json.loads(text)['models'])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{path} carries no entry that can be read: {error}') from error
    here = str(path.resolve())
    return {key: {**entry, 'checkpoint': {'file': here}} for key, entry in entries.items()}


def carries_entry(path: Path) -> bool:
    """Whether a weight file carries its own entry.

    Args:
        path: A safetensors file.

    Returns:
        Whether `read_entries` reads it.
    """
    try:
        return bool(read_entries(path))
    except ValueError:
        return False


def _read_metadata(path: Path) -> dict[str, str]:
    with path.open('rb') as file:
        start = file.read(8)
        length = struct.unpack('<Q', start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(MOST_HEADER, path.stat().st_size):
            raise ValueError(f'{path} is not a safetensors file')
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise ValueError(f'{path} is not a safetensors file: {error}') from error
    metadata = header.get('__metadata__', {}) if isinstance(header, dict) else {}
    return metadata if isinstance(metadata, dict) else {}
