"""Builds the message packages of `interfaces/` that no ROS installation brings, into `.venv`.

They are ordinary ament_cmake packages. Beside the ROS wheels from PyPI one thing is put right
first: the CMake targets that the wheels export name Python and libraries of the machine they were
made on.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from threading import Thread

from tools.progress import Display, StepError, last_lines, run_logged

_FOREIGN_INCLUDE = re.compile(r'/opt/python/cp\d+-cp\d+t?/include/python3\.\d+t?')
_FOREIGN_LIBRARY = re.compile(r'/usr/lib64/\S+?\.so;|(?<=")lttng-ust;')
_FOREIGN_PACKAGES = re.compile(r'/opt/python/cp\d+-cp\d+t?/lib/python3\.\d+t?/site-packages')


def packages(folder: Path) -> list[Path]:
    """The package folders below `interfaces/`, by name."""
    return sorted(file.parent for file in folder.glob('*/package.xml'))


def digest(paths: Iterable[Path]) -> str:
    """SHA-256 over the names and contents of files, and of all files below folders."""
    total = hashlib.sha256()
    for path in paths:
        files = sorted(path.rglob('*')) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and '__pycache__' not in file.parts:
                total.update(f'{file.relative_to(path.parent)}\0'.encode())
                total.update(file.read_bytes())
    return total.hexdigest()


def correct_exported_paths(venv: Path, include: Path, site_packages: Path) -> int:
    """Make the wheels' CMake files name this environment's Python.

    Args:
        venv: The virtual environment.
        include: Folder of this interpreter's `Python.h`.
        site_packages: The environment's package folder.

    Returns:
        How many files were changed: 0 on every later call.
    """
    changed = 0
    for file in (venv / 'share').rglob('*.cmake'):
        text = file.read_text()
        corrected = _FOREIGN_INCLUDE.sub(str(include), text)
        corrected = _FOREIGN_PACKAGES.sub(str(site_packages), corrected)
        # The wheels bring what their libraries are linked with, under names of their own.
        corrected = _FOREIGN_LIBRARY.sub('', corrected)
        if corrected != text:
            file.write_text(corrected)
            changed += 1
    return changed


def build_environment(venv: Path, base: Mapping[str, str]) -> dict[str, str]:
    """The environment in which CMake finds ROS and the tools of the virtual environment.

    Args:
        venv: The virtual environment.
        base: Environment of this process; a sourced ROS installation shows in it.
    """
    env = dict(base)
    installed = base.get('AMENT_PREFIX_PATH', '')
    for name, folder, rest in (
        ('AMENT_PREFIX_PATH', venv, installed),
        ('CMAKE_PREFIX_PATH', venv, base.get('CMAKE_PREFIX_PATH') or installed),
        ('LD_LIBRARY_PATH', venv / 'lib', base.get('LD_LIBRARY_PATH', '')),
        ('PATH', venv / 'bin', base.get('PATH', '')),
    ):
        env[name] = os.pathsep.join(filter(None, [str(folder), rest]))
    env['ROS_VERSION'] = '2'
    # Otherwise the wheels' start-up hook runs in every code generator once more.
    env['_ROS_WHEELS_BOOTSTRAP_COMPLETE'] = '1'
    return env


def importable(package: Path, python: Path, env: Mapping[str, str]) -> bool:
    """Whether an interpreter can import all messages that a package folder defines."""
    messages = ', '.join(sorted(file.stem for file in package.glob('msg/*.msg')))
    statement = f'from {package.name}.msg import {messages}'
    found = subprocess.run([python, '-c', statement], env=dict(env), capture_output=True)
    return found.returncode == 0


class InterfaceBuild:
    """Builds and installs packages in a thread of its own, while pip waits for the network.

    Args:
        folders: Package folders, each independent of the others.
        venv: The virtual environment, also the prefix to install into.
        site_packages: Its package folder.
        display: Where progress goes.
    """

    def __init__(
        self, folders: Sequence[Path], venv: Path, site_packages: Path, display: Display
    ) -> None:
        self._folders = [folder for folder in folders if not self._is_built(venv, folder)]
        self._venv = venv
        self._python_folder = site_packages.relative_to(venv)
        self._display = display
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait for the end.

        Raises:
            StepError: A package could not be built.
        """
        self._thread.join()
        if self._error:
            raise self._error

    @staticmethod
    def _is_built(venv: Path, folder: Path) -> bool:
        stamp = venv / 'interfaces' / folder.name / '.built'
        return stamp.is_file() and stamp.read_text() == digest([folder])

    def _run(self) -> None:
        try:
            for folder in self._folders:
                self._build(folder)
        except BaseException as error:  # raised again by join()
            self._error = error

    def _build(self, folder: Path) -> None:
        build = self._venv / 'interfaces' / folder.name
        build.mkdir(parents=True, exist_ok=True)
        log = build / 'build.log'
        env = build_environment(self._venv, os.environ)
        configure = [
            *('cmake', '--fresh', '-S', str(folder), '-B', str(build), '-G', 'Ninja'),
            f'-DCMAKE_INSTALL_PREFIX={self._venv}',
            f'-DPython3_EXECUTABLE={self._venv / "bin" / "python"}',
            f'-DPYTHON_INSTALL_DIR={self._python_folder}',
            '-DCMAKE_BUILD_TYPE=Release',
            '-DBUILD_TESTING=OFF',
        ]
        for command in (configure, ['cmake', '--build', str(build), '--target', 'install']):
            if run_logged(command, log, env, cwd=folder):
                raise StepError(f'building {folder.name} failed\n{last_lines(log, 30)}\n({log})')
        (build / '.built').write_text(digest([folder]))
        self._display.note(f'messages of {folder.name} built')
