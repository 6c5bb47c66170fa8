"""Fixtures and process settings that every test shares.

The settings below are made when pytest reads this file, before numpy, numba, torch or rclpy are
imported, so that a plain ``.venv/bin/pytest`` behaves like ``make test``:

* One thread per numeric library. Many small tests on few cores are slower with more.
* ROS 2 from the wheels needs ``LD_LIBRARY_PATH`` before the process starts. The wheels see to it:
  a ``.pth`` file runs at interpreter start, sets it and executes the interpreter once more, so it
  has happened before pytest's first line. The guard variable ``_ROS_WHEELS_BOOTSTRAP_COMPLETE``
  and ``LD_LIBRARY_PATH`` must reach a child process both or not at all: pass ``os.environ`` whole.
* ``AMENT_PREFIX_PATH`` names the virtual environment unless a ROS installation has set it.
* Fast DDS gets the package's profile; without it large images are lost.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAUNCH_PYTEST_ENDS = (8, 4)
"""From this pytest on, the launch_pytest of Jazzy reads a fixture's attribute that is gone."""

for _name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS', 'NUMBA_NUM_THREADS'):
    os.environ.setdefault(_name, '1')
os.environ.setdefault('NUMBA_CACHE_DIR', str(ROOT / '.numba_cache'))
os.environ.setdefault('AMENT_PREFIX_PATH', sys.prefix)
os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
os.environ.setdefault('ROS_LOG_DIR', str(Path(tempfile.gettempdir()) / 'sam_ad_test_ros_log'))
for _name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'):
    os.environ.setdefault(_name, str(ROOT / 'config' / 'fastdds.xml'))

import hypothesis  # noqa: E402  (after the settings above: it may import numpy)
import numpy as np  # noqa: E402

# A busy machine makes deadlines flaky; a fixed derivation makes a failure repeat for everybody.
hypothesis.settings.register_profile(
    'default',
    deadline=None,
    max_examples=60,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile('thorough', deadline=None, max_examples=2000)
hypothesis.settings.load_profile(os.environ.get('HYPOTHESIS_PROFILE', 'default'))


def pytest_configure(config: pytest.Config) -> None:
    """Load the plugin that test/launch needs; pyproject.toml keeps all of ROS's out by default."""
    found = importlib.util.find_spec('launch_pytest') is not None
    if found and pytest.version_tuple < LAUNCH_PYTEST_ENDS:
        config.pluginmanager.import_plugin('launch_pytest.plugin')


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--fuzz N`: so many mutated messages are tried."""
    parser.addoption('--fuzz', default=2000, type=int, help='number of mutated messages')


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked `ros` where there is no ROS 2, neither wheels nor installation."""
    if importlib.util.find_spec('rclpy') is None:
        for item in items:
            if item.get_closest_marker('ros'):
                item.add_marker(pytest.mark.skip(reason='rclpy is not installed: run make setup'))


@pytest.fixture(scope='session')
def repository() -> Path:
    """The root of the working tree."""
    return ROOT


@pytest.fixture(scope='session')
def setup_metadata() -> dict[str, Any]:
    """What setuptools makes of setup.py: names, versions, requirements, entry points."""
    script = """
import json, sys
from distutils.core import run_setup
made = run_setup('setup.py', stop_after='init')
names = ('install_requires', 'extras_require', 'entry_points')
told = {name: getattr(made, name) for name in names}
told |= {name: getattr(made.metadata, name) for name in ('name', 'version', 'license')}
json.dump(told, sys.stdout)
"""
    # setuptools first: it brings distutils where Python no longer does
    command = [sys.executable, '-W', 'ignore', '-c', f'import setuptools{script}']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.fixture(scope='session')
def sample_data() -> Path:
    """The folder of recorded data; skips where it is not to be had."""
    named = os.environ.get('SAM_AD_TEST_DATA')
    folder = Path(named) if named else ROOT.parent / 'shared' / 'data'
    if not folder.is_dir():
        pytest.skip(f'no recorded data: {folder} is not a folder (SAM_AD_TEST_DATA names it)')
    return folder


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """A generator seeded by the test's own name: fixed for a test, different between tests."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))


@contextmanager
def _lock_domain() -> Iterator[int]:
    """Take a ``ROS_DOMAIN_ID`` that no other test on this machine uses now, and set it.

    A locked file holds the number, so that test runs beside each other do not meet, and the lock
    goes when the process goes, whichever way it ends. 1 to 100 is the range that keeps clear of
    the ports Linux hands out by itself. Numbers are taken in turn: what a test leaves on the wire
    does not reach the next.
    """
    folder = Path(tempfile.gettempdir()) / f'sam_ad_domains_{os.getuid()}'
    folder.mkdir(exist_ok=True)
    with (folder / 'next').open('a+') as counter:
        fcntl.flock(counter, fcntl.LOCK_EX)
        counter.seek(0)
        start = int(counter.read() or 0)
        for step in range(100):
            domain = (start + step) % 100 + 1
            lock = (folder / str(domain)).open('w')
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                continue
            break
        else:
            raise RuntimeError(f'all 100 ROS domains are locked in {folder}')
        counter.truncate(0)
        counter.write(str(domain))
    with lock, pytest.MonkeyPatch.context() as patch:
        patch.setenv('ROS_DOMAIN_ID', str(domain))
        patch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
        yield domain


@pytest.fixture
def free_domain_id() -> Iterator[int]:
    """A ``ROS_DOMAIN_ID`` that one test has for itself, set in the environment."""
    with _lock_domain() as domain:
        yield domain


@pytest.fixture(scope='module')
def ros_domain() -> Iterator[int]:
    """The same for the tests of a module together."""
    with _lock_domain() as domain:
        yield domain


@pytest.fixture(scope='session')
def mutations() -> Any:
    """`test/fuzz/mutations.py`; tests are no package."""
    path = ROOT / 'test' / 'fuzz' / 'mutations.py'
    spec = importlib.util.spec_from_file_location('sam_ad_test_mutations', path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='session')
def fuzz_inputs(request: pytest.FixtureRequest) -> int:
    """How many mutated messages are tried, `--fuzz N`."""
    return int(request.config.getoption('--fuzz'))
