"""All tests are collected where the pytest plugins of ROS are loaded, as `colcon test` runs them.

The plugins come with launch_testing, launch_testing_ros and launch_pytest; those of Jazzy stop
pytest 8 and newer, so both pytests are tried: that of the stack and the one that we pin.
"""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip('launch_testing', reason='launch_testing is not installed (not in the wheels)')

ROOT = Path(__file__).resolve().parents[2]
PINNED = next(iter((ROOT / '.venv' / 'lib').glob('python3.*/site-packages')), None)

pytestmark = pytest.mark.slow


def collect(environment):
    command = [sys.executable, '-m', 'pytest', '--collect-only', '-q', 'test']
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-3000:]
    # Not by their names: the pytests write those of parameters otherwise.
    return Counter(line.split('::')[0] for line in done.stdout.splitlines() if '::' in line)


def test_both_pytests_collect_all_tests_beside_the_plugins(count):
    own = collect(dict(os.environ))
    assert own.total() > 1000
    count('launch_testing', 'tests collected', own.total())
    if PINNED is None or Path(pytest.__file__).parents[1] == PINNED:
        return
    others = os.environ.get('PYTHONPATH', '').split(os.pathsep)
    path = os.pathsep.join([str(PINNED), *filter(None, others)])
    pinned = collect({**os.environ, 'PYTHONPATH': path})
    # test/launch needs the plugin launch_pytest, which no new pytest loads.
    own.pop('test/launch/test_launch_pytest.py', None)
    assert pinned == own
    count('launch_testing', 'by the pinned pytest', pinned.total())
