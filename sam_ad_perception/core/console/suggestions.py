"""Suggestions for misspelt names: the nearest of the names that are known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

CUTOFF = 0.6
"""Share of the letters that two names must have in common, as difflib counts them."""
_SURE = 0.7
"""The same for files, of which there are many that are meant for something else."""


def nearest(word: str, known: Iterable[str], cutoff: float = CUTOFF) -> str:
    """Find the name that was meant.

    Args:
        word: As it was written.
        known: The names that there are.
        cutoff: How alike the two must be, 0 to 1.

    Returns:
        One of `known`; '' where none is near. Case, `_` and `-` make no difference, and the
        beginning of a single name stands for it.
    """
    plain: dict[str, str] = {}
    for name in map(str, known):
        plain.setdefault(_plain(name), name)
    found = difflib.get_close_matches(_plain(word), plain, 1, cutoff)
    if found:
        return plain[found[0]]
    begun = [name for short, name in plain.items() if word and short.startswith(_plain(word))]
    return begun[0] if len(begun) == 1 else ''


def did_you_mean(word: str, known: Iterable[str], cutoff: float = CUTOFF) -> str:
    """Word the question at the end of a refusal.

    Args:
        word: As it was written.
        known: The names that there are.
        cutoff: See `nearest`.

    Returns:
        `, did you mean 'NAME'?`; '' where no name is near.
    """
    near = nearest(word, known, cutoff)
    return f', did you mean {near!r}?' if near else ''


def missing_path(path: str | Path) -> str:
    """Say that a file or folder is not there, and which one beside it was meant.

    Args:
        path: As it was written.

    Returns:
        A sentence without a full stop; a question where something beside it has a like name.
    """
    place = Path(path)
    parent = place.parent
    if not parent.is_dir():
        above = missing_path(parent)
        return f'{place} does not exist, for {above}'
    try:
        names = [entry.name for entry in parent.iterdir() if not entry.name.startswith('.')]
    except OSError:
        names = []
    alike = [name for name in names if Path(name).suffix in ('', place.suffix)]
    near = nearest(place.stem, (Path(name).stem for name in alike), _SURE)
    near = next((name for name in alike if Path(name).stem == near), '') if near else ''
    return f'{place} does not exist' + (f', did you mean {str(parent / near)!r}?' if near else '')


def _plain(name: str) -> str:
    return name.casefold().lstrip('-').replace('-', '_')
