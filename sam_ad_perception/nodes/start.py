"""Entry points of the nodes: signals end them quietly, also while they import.

What a node imports takes seconds, and `ros2 launch` may be told to stop meanwhile. So the handlers
are set here, before anything heavy is imported; `process.run_node` takes over. Importing this
module, or a node's, changes nothing in the process.
"""

from __future__ import annotations

import os
import signal
from importlib import import_module
from typing import Any

NODES = (
    'segmentation_node',
    'depth_projection_node',
    'visualization_node',
    'synchronizer_node',
    'replay_node',
    'recorder_node',
)
"""The executables, each named after its module."""


def run(name: str) -> int:
    """Run a node with the command line of this process.

    Args:
        name: One of `NODES`.

    Returns:
        The exit code.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    code: int = import_module(f'{__package__}.{name}').main()
    return code


def _leave(number: int, frame: Any) -> None:
    os._exit(0)  # nothing is open yet


def segmentation_node() -> int:
    """Run the segmentation node; returns the exit code."""
    return run('segmentation_node')


def depth_projection_node() -> int:
    """Run the depth projection node; returns the exit code."""
    return run('depth_projection_node')


def visualization_node() -> int:
    """Run the visualization node; returns the exit code."""
    return run('visualization_node')


def synchronizer_node() -> int:
    """Run the synchronizer node; returns the exit code."""
    return run('synchronizer_node')


def replay_node() -> int:
    """Run the replay node; returns the exit code."""
    return run('replay_node')


def recorder_node() -> int:
    """Run the recorder; returns the exit code."""
    return run('recorder_node')
