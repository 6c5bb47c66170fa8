"""Images and points of other libraries as plain numpy arrays, before they are read.

Pictures of Pillow, tables of pandas, tensors of torch and masked arrays say more than their
numbers; numpy alone would read a palette as brightness and the columns of a table in any order.
None of these libraries is imported.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_PLAIN_MODES = ('L', 'RGB', 'RGBA', 'I', 'F', 'I;16', 'I;16L', 'I;16B')
"""Modes of Pillow whose numbers are what they seem; the others are made RGB by Pillow."""


def plain_array(name: str, value: ArrayLike, expected: str) -> NDArray[Any]:
    """Make an array of numbers, or of records, or refuse.

    Args:
        name: What the caller named the argument.
        value: A list, an array, or what another library holds.
        expected: What is taken, for the sentence of a refusal.

    Returns:
        Integers, floats, or a structured array.

    Raises:
        ValueError: It is none, or numpy hides some of its values.
    """
    taken: Any = value
    if hasattr(taken, 'convert') and hasattr(taken, 'mode') and taken.mode not in _PLAIN_MODES:
        taken = taken.convert('RGB')
    elif hasattr(taken, 'to_records') and set('xyz') <= set(getattr(taken, 'columns', ())):
        taken = taken.to_records(index=False)
    if isinstance(taken, np.ma.MaskedArray) and np.ma.is_masked(taken):
        raise ValueError(
            f'{name} is {shown(value)} with {int(np.ma.count_masked(taken))} masked values, '
            f'{expected}; {name}.filled(...) says what stands for them'
        )
    try:
        array = np.asarray(taken)
    except (ValueError, TypeError, RuntimeError) as err:  # rows of different length; a GPU tensor
        raise ValueError(f'{name} is no array ({str(err).splitlines()[0]}), {expected}') from err
    if array.dtype.kind not in 'iuf' and array.dtype.names is None:
        raise ValueError(f'{name} is {shown(value)}, {expected}')
    return array


def shown(value: object) -> str:
    """Shape and type of what came.

    Args:
        value: An argument.

    Returns:
        For example `(40, 64, 3) uint8`.
    """
    if hasattr(value, 'shape') and hasattr(value, 'dtype'):
        return f'{tuple(value.shape)} {value.dtype}'
    if hasattr(value, 'mode') and hasattr(value, 'size'):
        return f'a picture of mode {value.mode} and size {value.size}'
    if isinstance(value, list | tuple):
        try:
            array = np.asarray(value)
        except ValueError:
            return f'a {type(value).__name__}'
        return f'a {type(value).__name__} of shape {array.shape}, {array.dtype}'
    return f'a {type(value).__name__}'
