"""ROS 2 nodes: wiring only. Convert, one call into the core, publish.

Where this process is a node, a signal ends it quietly from here on: what a node imports takes
seconds, and `ros2 launch` may be told to stop meanwhile. `process.run_node` takes over.
"""

import os
import signal
import sys
from typing import Any


def _is_node() -> bool:
    """Whether a node is started: `-m` is the program's name while Python looks for the module."""
    program = os.path.basename(sys.argv[0]) if sys.argv else ''
    return program == '-m' or program.endswith('_node')


def _leave(number: int, frame: Any) -> None:
    os._exit(0)  # nothing is open yet


if _is_node():
    for _number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(_number, _leave)
