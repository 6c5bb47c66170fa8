"""The environment that a ROS 2 process needs when nothing has been sourced.

A ROS installation sets these variables when it is sourced, and the launch files set the rest. The
wheels set none, so every `main` and every test calls `prepare_environment` before `rclpy.init`.
What is set already is left alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping

from sam_ad_perception.core.console.installation import share_folder

PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
"""Where Fast DDS reads the name of its profile: up to Jazzy the first, from Kilted the second."""


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
