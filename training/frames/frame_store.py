"""Labelled frames in files: arrays as safetensors, the rest as JSON, with a checksum over both."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from sam_ad_perception.core.sensors import (
    CameraModel,
    CloudSource,
    Events,
    LazyImage,
    Modality,
    PointCloud,
    PointMotion,
    SensorBundle,
    SensorFrame,
)
from training.frames.frame import LabelledFrame
from training.networks.checkpoint import save_atomically

RECORDS: Mapping[str, type[Any]] = {
    record.__name__: record
    for record in (
        CameraModel,
        Events,
        LabelledFrame,
        PointCloud,
        PointMotion,
        SensorBundle,
        SensorFrame,
    )
}
"""The only types that a file may name."""
_DIGEST = hashlib.sha256().digest_size


class DamagedEntryError(ValueError):
    """A file of a frame that is not as it was written."""


def save_frame(frame: LabelledFrame, path: Path) -> None:
    """Write a frame so that it is never seen half written.

    Args:
        frame: The frame; images that are still packed are unpacked.
        path: The file.

    Raises:
        ValueError: An image cannot be read, or the frame holds what no file can.
        OSError: It cannot be written.
    """
    arrays: dict[str, NDArray[Any]] = {}
    facts = json.dumps(_to_plain(frame, arrays)).encode()
    arrays['facts'] = np.frombuffer(facts, np.uint8)
    content = save(arrays)
    save_atomically(hashlib.sha256(content).digest() + content, path)


def load_frame(path: Path) -> LabelledFrame:
    """Read a frame.

    Args:
        path: A file that `save_frame` wrote.

    Returns:
        The frame.

    Raises:
        DamagedEntryError: The file is absent, or not as it was written.
    """
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise DamagedEntryError(f'{path} cannot be read: {error}') from error
    digest, content = packed[:_DIGEST], packed[_DIGEST:]
    if hashlib.sha256(content).digest() != digest:
        raise DamagedEntryError(f'{path} is not as it was written')
    try:
        arrays = load(content)
        frame = _from_plain(json.loads(arrays['facts'].tobytes()), arrays)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DamagedEntryError(f'{path} holds no frame: {error}') from error
    if not isinstance(frame, LabelledFrame):
        raise DamagedEntryError(f'{path} holds a {type(frame).__name__}, expected a frame')
    return frame


def _to_plain(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    if isinstance(value, LazyImage):
        value = value.get()
    if isinstance(value, CloudSource):
        return None  # the message that a sweep came from is of no use to training
    if isinstance(value, np.ndarray):
        arrays[str(len(arrays))] = np.ascontiguousarray(value)
        return {'array': str(len(arrays) - 1)}
    if isinstance(value, Modality):
        return {'sensor': str(value)}
    if isinstance(value, Mapping):
        return {'map': [[_to_plain(k, arrays), _to_plain(v, arrays)] for k, v in value.items()]}
    if isinstance(value, tuple):
        return {'tuple': [_to_plain(item, arrays) for item in value]}
    if type(value).__name__ in RECORDS:
        fields = [f.name for f in dataclasses.fields(value)]
        plain = {name: _to_plain(getattr(value, name), arrays) for name in fields}
        return {'record': type(value).__name__, 'fields': plain}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    raise ValueError(f'a frame cannot hold a {type(value).__name__} in a file')


def _from_plain(value: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    if not isinstance(value, dict):
        return value
    if 'array' in value:
        return arrays[value['array']]
    if 'sensor' in value:
        return Modality(value['sensor'])
    if 'map' in value:
        return {_from_plain(k, arrays): _from_plain(v, arrays) for k, v in value['map']}
    if 'tuple' in value:
        return tuple(_from_plain(item, arrays) for item in value['tuple'])
    record = RECORDS[value['record']]
    return record(**{k: _from_plain(v, arrays) for k, v in value['fields'].items()})
