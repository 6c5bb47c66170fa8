"""Where the package's data folders are: in the checkout, or where it was installed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PACKAGE = 'sam_ad_perception'


def share_folder(name: str) -> Path:
    """Find one of the package's data folders.

    Args:
        name: `config`, `launch` or `models`.

    Returns:
        The folder in the checkout that this module was imported from, if it was; else that of the
        package installed below `AMENT_PREFIX_PATH` or in this interpreter's prefix.

    Raises:
        FileNotFoundError: Neither has it.
    """
    checkout = Path(__file__).resolve().parents[3]
    prefixes = [p for p in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep) if p]
    candidates = [
        *([checkout / name] if (checkout / 'package.xml').is_file() else []),
        *(Path(prefix) / 'share' / PACKAGE / name for prefix in [*prefixes, sys.prefix]),
    ]
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise FileNotFoundError(
        f'no folder {name!r} of {PACKAGE}: looked at {", ".join(map(str, candidates))}'
    )
