"""Digest of the source code that wrote a cache, so that a changed code invalidates it."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import sam_ad_perception

_PACKAGE = Path(sam_ad_perception.__file__).parent
_TRAINING = Path(__file__).resolve().parents[1]


@lru_cache(maxsize=8)
def code_digest(*parts: str) -> str:
    """Digest the source files that frames are made by.

    Args:
        parts: Folders or files below the package, or below the training folder with `training/`
            in front.

    Returns:
        12 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for part in parts:
        own = part.removeprefix('training/')
        place = _TRAINING / own if own != part else _PACKAGE / part
        files = [place] if place.is_file() else sorted(place.rglob('*.py'))
        for file in files:
            digest.update(f'{part} {file.name} '.encode() + file.read_bytes())
    return digest.hexdigest()[:12]
