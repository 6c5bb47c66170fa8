"""Sensor messages with one or more fields changed: structure-aware, so that they reach deep."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

TEXTS = (
    '', ' ', '/', 'a' * 5000, 'rgb8', 'bgr8', 'mono8', 'mono16', '16UC1', '32FC1', '32FC3', '8UC3',
    'bayer_rggb8', 'bayer_gbrg16', 'yuv422_yuy2', 'nv12', 'rgb48x', 'RGB8', 'jpeg', 'png',
    'rgb8; jpeg compressed bgr8', '16UC1; compressedDepth', 'evt3', 'evt2', 'mono', 'libcaer',
    'libcaer_cmp', 'plumb_bob', 'equidistant', 'rational_polynomial', 'thin_prism', 'x', 'y', 'z',
    'intensity', 't', 'time', 'timestamp', 'ring', 'camera_optical', 'lidar', '/lidar', 'map',
    '\x1b[31mred\x1b[0m', '[bold]x[/bold]', '<script>alert(1)</script>', 'ünïcödé', 'a\x00b',
)  # fmt: skip
"""Words of these messages in wrong places, and text that a terminal or a page may trip over."""

FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-30, 1e30, -1e30, 1e300, math.nan, math.inf, -math.inf)


def leaves(message: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """All values of a message with the way to each; a list is a value, too."""
    if dataclasses.is_dataclass(message):
        for field in dataclasses.fields(message):
            if field.name != '__msgtype__':
                yield from leaves(getattr(message, field.name), (*path, field.name))
    elif isinstance(message, list):
        yield path, message
        for index, item in enumerate(message[:3]):
            yield from leaves(item, (*path, index))
    else:
        yield path, message


def mutate(message: Any, rng: np.random.Generator, times: int = 1) -> Any:
    """Change fields of a message.

    Args:
        message: A message of rosbags.
        rng: Chooses.
        times: So many changes, one after the other.

    Returns:
        A new message that can be serialized.
    """
    for _ in range(times):
        places = list(leaves(message))
        path, value = places[int(rng.integers(len(places)))]
        message = put(message, path, change(value, path, rng))
    return message


def put(message: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of a message with another value at one place."""
    if not path:
        return value
    step, *rest = path
    if isinstance(message, list):
        items = list(message)
        items[step] = put(items[step], tuple(rest), value)
        return items
    return dataclasses.replace(message, **{step: put(getattr(message, step), tuple(rest), value)})


def change(value: Any, path: tuple[Any, ...], rng: np.random.Generator) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return change_int(value, str(path[-1]), rng)
    if isinstance(value, float):
        return float(rng.choice(FLOATS))
    if isinstance(value, str):
        return TEXTS[int(rng.integers(len(TEXTS)))]
    if isinstance(value, np.ndarray):
        return change_array(value, path, rng)
    if isinstance(value, list):
        return change_list(value, rng)
    raise TypeError(f'{path}: {type(value)}')


LIMITS = {
    'sec': 2**31 - 1, 'nanosec': 2**32 - 1, 'is_bigendian': 1, 'datatype': 255,
    'height': 2**32 - 1, 'width': 2**32 - 1, 'step': 2**32 - 1, 'row_step': 2**32 - 1,
    'point_step': 2**32 - 1,
    'offset': 2**32 - 1, 'count': 2**32 - 1, 'seq': 2**63 - 1, 'time_base': 2**63 - 1,
}  # fmt: skip


def change_int(value: int, name: str, rng: np.random.Generator) -> int:
    """A near, an extreme, or any value that the field holds."""
    limit = LIMITS.get(name, 2**31 - 1)
    low = -(2**31) if name == 'sec' else 0
    options = (
        0,
        1,
        value + 1,
        value - 1,
        2 * value,
        value // 2,
        255,
        65535,
        limit,
        limit // 2,
        low,
    )
    return int(min(max(options[int(rng.integers(len(options)))], low), limit))


def change_array(value: np.ndarray, path: tuple[Any, ...], rng: np.random.Generator) -> np.ndarray:
    """Cut, extend, empty, spoil; arrays of fixed length keep it."""
    made = value.copy()
    fixed = path[-1] in ('k', 'r', 'p')
    kind = int(rng.integers(3 if fixed else 7))
    if made.size and kind <= 2:
        places = rng.integers(0, made.size, max(1, made.size // int(rng.choice((1, 10, 1000)))))
        if made.dtype.kind == 'f':
            made[places] = rng.choice(FLOATS, len(places))
        elif kind == 0:
            made[places] = rng.integers(0, 256, len(places))
        elif kind == 1:
            made[places] = 0
        else:
            made[places] = 255
        return made
    if kind == 3:
        return made[:0]
    if kind == 4:
        return made[: int(rng.integers(0, made.size + 1))]
    if kind == 5:
        return np.concatenate([made, made[: int(rng.integers(0, made.size + 1))]])
    return np.roll(made, int(rng.integers(1, 5)))


def change_list(value: list[Any], rng: np.random.Generator) -> list[Any]:
    """Drop, repeat or reverse items."""
    kind = int(rng.integers(4))
    if not value or kind == 0:
        return []
    index = int(rng.integers(len(value)))
    if kind == 1:
        return value[:index] + value[index + 1 :]
    if kind == 2:
        return [*value, *[value[index]] * int(rng.choice((1, 20)))]
    return value[::-1]
