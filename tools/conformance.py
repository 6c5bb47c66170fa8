"""Runs the comparisons with ROS's own tools that an interpreter can import, and says which lack.

    python -m tools.conformance [pytest arguments]

The interpreter is one of a sourced ROS installation, or of an environment in which its packages
were built from source. `make test` runs the same tests where their packages are there.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PEERS = {
    'launch_ros': 'launch files with every argument, hostile including files',
    'launch_pytest': 'launch files run as tests',
    'ros2param': 'ros2 param dump and load',
    'tf2_py': 'transforms against BufferCore',
    'message_filters': 'policy approximate of the synchronizer node',
    'sensor_msgs_py': 'point clouds',
    'cv_bridge': 'images of every encoding',
    'semantic_segmentation_layer': 'a costmap of nav2 from our topics',
}
"""Package of a ROS installation -> what is compared with it."""
TESTS = ('test/conformance', 'test/launch', 'test/consumers/test_nav2_itself.py')


def missing_peers() -> list[str]:
    """List the peers that neither this interpreter nor the sourced installation has."""
    return [name for name in PEERS if not _is_there(name)]


def _is_there(name: str) -> bool:
    """Whether a peer is there: a Python module, or a package of the sourced installation."""
    if importlib.util.find_spec(name) is not None:
        return True
    prefixes = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    marker = Path('share/ament_index/resource_index/packages') / name
    return any((Path(prefix) / marker).is_file() for prefix in prefixes if prefix)


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line.

    Args:
        argv: Arguments of pytest; the process's own by default.

    Returns:
        Exit code: that of pytest; 2 where no peer is there.
    """
    missing = missing_peers()
    for name in missing:
        print(f'without {name} (not installed for {sys.executable}): {PEERS[name]}')
    if len(missing) == len(PEERS):
        print(
            'Nothing to compare with: source a ROS 2 installation, or name its Python by PYTHON.'
        )
        return 2
    command = [sys.executable, '-m', 'pytest', '-q', *TESTS]
    return subprocess.run(
        [*command, *(sys.argv[1:] if argv is None else argv)], cwd=ROOT
    ).returncode


if __name__ == '__main__':
    sys.exit(main())
