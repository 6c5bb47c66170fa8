"""Runs the comparisons with ROS's own tools that an interpreter can import, and says which lack.

    python -m tools.conformance [pytest arguments]

The interpreter is that of ROS_PYTHON, or of the environment that `tools/ros_stack.py` made (now,
where ROS_SOURCES names the folder of the sources), or else this one: that of `.venv`, which sees a
sourced ROS installation. `make test` runs the same tests where their packages are there.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools import ros_stack

ROOT = Path(__file__).resolve().parents[1]
PEERS = {
    'launch_ros': 'launch files with every argument, hostile including files',
    'launch_pytest': 'launch files run as tests',
    'launch_testing': 'all tests collected beside the plugins of ROS',
    'ros2param': 'ros2 param dump and load',
    'ros2lifecycle': 'ros2 lifecycle and ros2 service on a running node',
    'tf2_py': 'transforms against BufferCore',
    'message_filters': 'policy approximate of the synchronizer node',
    'sensor_msgs_py': 'point clouds',
    'cv_bridge': 'images of every encoding',
    'bondpy': 'the bond of a lifecycle manager',
    'semantic_segmentation_layer': 'a costmap of nav2 from our topics',
}
"""Package of a ROS installation -> what is compared with it."""
TESTS = ('test/conformance', 'test/launch', 'test/consumers/test_nav2_itself.py')


def choose_interpreter(environment: Mapping[str, str], stack: Path) -> Path:
    """Find the interpreter that the comparisons run with.

    Args:
        environment: Where ROS_PYTHON may be.
        stack: Folder of the environment that `tools/ros_stack.py` makes.
    """
    if environment.get('ROS_PYTHON'):
        return Path(environment['ROS_PYTHON'])
    built = stack / 'bin' / 'python'
    return built if built.exists() else Path(sys.executable)


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
    arguments = list(sys.argv[1:] if argv is None else argv)
    if os.environ.get('ROS_SOURCES'):
        ros_stack.main([])
    interpreter = choose_interpreter(os.environ, ros_stack.STACK)
    if interpreter.absolute() != Path(sys.executable).absolute():
        environment = {**os.environ, 'ROS_PYTHON': str(interpreter), 'ROS_SOURCES': ''}
        command = [str(interpreter), '-m', 'tools.conformance', *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment).returncode
    missing = missing_peers()
    for name in missing:
        print(f'without {name} (not installed for {sys.executable}): {PEERS[name]}')
    if len(missing) == len(PEERS):
        print(
            'Nothing to compare with: name a folder of sources by ROS_SOURCES, source a ROS 2 '
            'installation, or name its Python by ROS_PYTHON.'
        )
        return 2
    # Its own programs first: `ros2` is one of them.
    path = os.pathsep.join([str(interpreter.parent), os.environ.get('PATH', '')])
    command = [sys.executable, '-m', 'pytest', '-q', *TESTS, *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, 'PATH': path}).returncode


if __name__ == '__main__':
    sys.exit(main())
