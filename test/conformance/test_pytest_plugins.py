"""All tests are collected where the pytest plugins of ROS are loaded, as `colcon test` runs them.

The plugins come with launch_testing, launch_testing_ros and launch_pytest; those of Jazzy stop
pytest 8 and newer, so both pytests are tried: that of the stack and the one that we pin.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('launch_testing', reason='launch_testing is not installed (not in the wheels)')

ROOT = Path(__file__).resolve().parents[2]
PINNED = next(iter((ROOT / '.venv' / 'lib').glob('python3.*/site-packages')), None)
COLLECTED = re.compile(r'(\d+)(?:/\d+)? tests? collected')

pytestmark = pytest.mark.slow


def collect(environment):
    command = [sys.executable, '-m', 'pytest', '--collect-only', '-q', 'test']
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-3000:]
    found = COLLECTED.search(said)
    assert found, said[-3000:]
    return int(found[1])


def test_both_pytests_collect_all_tests_beside_the_plugins(count):
    own = collect(dict(os.environ))
    count('launch_testing', 'tests collected', own)
    assert own > 1000
    if PINNED is None or Path(pytest.__file__).parents[1] == PINNED:
        return
    others = os.environ.get('PYTHONPATH', '').split(os.pathsep)
    path = os.pathsep.join([str(PINNED), *filter(None, others)])
    pinned = collect({**os.environ, 'PYTHONPATH': path})
    # test/launch needs the plugin launch_pytest, which no new pytest loads.
    assert 0 <= own - pinned < 10
    count('launch_testing', 'by the pinned pytest', pinned)
