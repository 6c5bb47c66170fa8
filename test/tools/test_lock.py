"""The lock of exact packages: read for what it was made for; pip refuses another hash."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tools.environment import ROOT
from tools.lock import HEADER, asked_for, format_lock, lock_file, read_lock

PINS = ('numpy==2.4.0 --hash=sha256:aa', 'nvidia-cublas==1 --hash=sha256:bb')
TOOLS = ('setuptools==79.0 --hash=sha256:ff', 'wheel==0.45 --hash=sha256:ee')
REST = ('sam2==1.1.0 --hash=sha256:cc', 'torch==2.15.0 --hash=sha256:dd')


def test_packages_come_in_the_order_in_which_they_can_be_built(tmp_path):
    path = tmp_path / 'lock.txt'
    path.write_text('\n'.join([HEADER + 'x', *PINS, *TOOLS, *REST, '']))
    lock = read_lock(path, 'x')
    assert lock is not None
    assert lock.build_tools == TOOLS
    assert (lock.small, lock.torch, lock.sources) == (PINS[:1], (PINS[1], REST[1]), REST[:1])
    assert read_lock(path, 'another setup.py') is None
    assert read_lock(tmp_path / 'none', 'x') is None


def test_names_and_hashes_are_those_of_the_report():
    entry = {
        'metadata': {'name': 'PyYAML', 'version': '6.0.3'},
        'download_info': {'archive_info': {'hashes': {'sha256': 'ee'}}},
    }
    assert format_lock({'install': [entry]}, 'x').splitlines()[1:] == [
        'pyyaml==6.0.3 --hash=sha256:ee'
    ]
    bare = entry | {'download_info': {'archive_info': {}}}
    with pytest.raises(ValueError, match='no sha256 of PyYAML'):
        format_lock({'install': [bare]}, 'x')


def test_the_committed_lock_is_for_this_checkout():
    """A stale lock is not used; then `python -m tools.lock` writes it anew."""
    if not lock_file().is_file():
        pytest.skip(f'no lock was made for {lock_file().name}')
    lock = read_lock(lock_file(), asked_for())
    assert lock is not None, 'setup.py or constraints.txt changed: run python -m tools.lock'
    assert len(lock.small) > 100
    names = {pin.partition('==')[0] for pin in (*lock.small, *lock.torch, *lock.sources)}
    assert {'torch', 'sam2', 'numpy', 'rosbags', 'ros-jazzy-rclpy'} <= names


def test_pip_refuses_a_file_with_another_hash(tmp_path: Path):
    """The mechanism that `make` relies on, with a wheel of our own."""
    wheel = tmp_path / 'toy-1.0-py3-none-any.whl'
    with zipfile.ZipFile(wheel, 'w') as archive:
        archive.writestr('toy.py', '')
        facts = 'Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n'
        archive.writestr('toy-1.0.dist-info/METADATA', facts)
        archive.writestr('toy-1.0.dist-info/WHEEL', 'Wheel-Version: 1.0\nTag: py3-none-any\n')
        archive.writestr('toy-1.0.dist-info/RECORD', '')
    wanted = tmp_path / 'wanted.txt'
    wanted.write_text(f'{wheel} --hash=sha256:{"0" * 64}\n')
    command = [sys.executable, '-m', 'pip', 'install', '--no-index']
    command += ['--require-hashes', '--no-deps', '--target', str(tmp_path / 'out')]
    done = subprocess.run(
        [*command, '-r', str(wanted)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert 'DO NOT MATCH THE HASHES' in done.stderr
