"""The environment that a ROS 2 process needs when nothing has been sourced.

A ROS installation sets these variables when it is sourced, and the launch files set the rest. The
wheels set none, so every `main` and every test calls `prepare_environment` before `rclpy.init`.
What is set already is left alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

PACKAGE = 'sam_ad_perception'

PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
"""Where Fast DDS reads the name of its profile: up to Jazzy the first, from Kilted the second."""


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
    checkout = Path(__file__).resolve().parents[2]
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


def prepare_environment(environment: MutableMapping[str, str] | None = None) -> None:
    """Set what ROS 2 from the wheels needs, and the Fast DDS profile for large messages.

    Args:
        environment: What to change; the process's own environment by default.
    """
    environment = os.environ if environment is None else environment
    environment.setdefault('AMENT_PREFIX_PATH', sys.prefix)
    try:
        profile = share_folder('config') / 'fastdds.xml'
    except FileNotFoundError:
        return  # only large messages suffer without it, and `sam_ad doctor` says so
    if profile.is_file() and not any(name in environment for name in PROFILE_VARIABLES):
        for name in PROFILE_VARIABLES:
            environment[name] = str(profile)
