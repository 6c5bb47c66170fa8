"""Sets up `.venv` for everything that `make` does. Run by it as `python -m tools.environment`.

A second run compares one stamp and ends. The stamp covers what the set-up reads: dependencies,
constraints, message definitions, these scripts, the interpreter and the ROS distribution.
Where a ROS 2 installation is sourced it is used as it is; elsewhere ROS comes from PyPI wheels.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.interfaces import (
    InterfaceBuild,
    correct_exported_paths,
    digest,
    importable,
    packages,
)
from tools.lock import asked_for, lock_file, read_lock, requirements
from tools.progress import Display, StepError

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / '.venv'
PACKAGE = 'sam_ad_perception'
PYTHONS = ((3, 11), (3, 14))
NEEDED_GIB = 9
EXTRAS = 'export,openvino,training,video,fleet,docs,test,dev'


def ros_distribution(env: Mapping[str, str]) -> str:
    """The sourced ROS 2 distribution, or 'wheels' where there is none."""
    sourced = env.get('ROS_DISTRO') and env.get('AMENT_PREFIX_PATH')
    return env['ROS_DISTRO'] if sourced else 'wheels'


def lacking(env: Mapping[str, str]) -> list[str]:
    """What this machine lacks, one sentence each that says what to install."""
    python = f'python{sys.version_info.major}.{sys.version_info.minor}'
    result = []
    if not PYTHONS[0] <= sys.version_info[:2] < PYTHONS[1]:
        result.append(f'Python 3.11, 3.12 or 3.13 is needed, {sys.executable} is {python}.')
    if not (importlib.util.find_spec('venv') and importlib.util.find_spec('ensurepip')):
        result.append(f'The venv module of {python} is missing: install {python}-venv.')
    if not (shutil.which('c++') or shutil.which('g++') or shutil.which('clang++')):
        result.append('A C++ compiler is missing: install g++ (or build-essential).')
    if not Path(sysconfig.get_path('include'), 'Python.h').is_file():
        result.append(f'The C headers of {python} are missing: install {python}-dev.')
    if ros_distribution(env) != 'wheels' and importlib.util.find_spec('rclpy') is None:
        result.append(
            f'ROS 2 {env["ROS_DISTRO"]} is sourced, but {python} has no rclpy: '
            'run make with PYTHON=python3 of that installation.'
        )
    free = shutil.disk_usage(ROOT).free / 2**30
    if not (VENV / '.ready').exists() and free < NEEDED_GIB:
        result.append(f'The environment needs {NEEDED_GIB} GB of disk, {free:.0f} are free.')
    return result


def shared_files() -> list[Path]:
    """The files of the checkout that an installed package has in its share folder."""
    patterns = ('package.xml', 'launch/*', 'config/*', 'models/*.yaml', 'models/*/*')
    return sorted(file for pattern in patterns for file in ROOT.glob(pattern) if file.is_file())


def ros_script(venv: Path) -> str:
    """A shell script that lets a sourced ROS 2 find the package: `ros2 launch` and `ros2 run`.

    ROS's own tools run outside the virtual environment: they find the executables there, and the
    launch files import the package from the checkout.
    """
    return '\n'.join(
        [
            '# Source it after the ROS 2 installation.',
            f'export AMENT_PREFIX_PATH="{venv}${{AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH}}"',
            f'export PYTHONPATH="{ROOT}${{PYTHONPATH:+:$PYTHONPATH}}"',
            f'export PATH="{venv}/bin:$PATH"',
            '',
        ]
    )


def stamp(env: Mapping[str, str]) -> str:
    """What the environment was made from, as text; equal text means nothing to do."""
    sources = [ROOT / name for name in ('setup.py', 'constraints.txt', 'interfaces', 'tools')]
    inputs = digest([*sources, *filter(Path.is_file, [lock_file()])])
    links = hashlib.sha256('\n'.join(map(str, shared_files())).encode()).hexdigest()
    python = f'{sys.base_prefix} {sys.version.split()[0]}'
    return f'{inputs} {links} {python} {ros_distribution(env)}\n'


class Environment:
    """One set-up of the virtual environment.

    Args:
        display: Where progress goes.
        env: Environment of this process.
    """

    def __init__(self, display: Display, env: Mapping[str, str]) -> None:
        self._display = display
        self._ros = ros_distribution(env)
        self._needs = requirements(ROOT / 'setup.py')
        self._python = VENV / 'bin' / 'python'
        version = f'python{sys.version_info.major}.{sys.version_info.minor}'
        self._site_packages = VENV / 'lib' / version / 'site-packages'
        # sam2 would compile a CUDA kernel that only its video predictor calls. The guard variable
        # of another environment's wheels would keep ours from finding their libraries.
        self._env = {**env, 'SAM2_BUILD_CUDA': '0', 'PIP_DISABLE_PIP_VERSION_CHECK': '1'}
        self._env.pop('_ROS_WHEELS_BOOTSTRAP_COMPLETE', None)

    def make(self) -> None:
        """Run all steps.

        Raises:
            StepError: A step failed.
        """
        self._create()
        lock = read_lock(lock_file(), asked_for()) if self._ros == 'wheels' else None
        editable = ['--no-build-isolation', '--editable', f'{ROOT}[{EXTRAS}]']
        if lock is not None:
            self._pip_locked('build tools', lock.build_tools)
            self._pip_locked('ROS 2 Jazzy and small packages', lock.small)
            build = self._begin_interfaces()
            self._pip_locked('PyTorch (the largest part, some 4 GB)', lock.torch)
            self._pip_locked('packages built with PyTorch', lock.sources)
            self._pip('the package', ['--no-deps', *editable])
        else:
            self._pip('build tools', ['setuptools', 'wheel', *self._needs['INTERFACE_TOOLS']])
            if self._ros == 'wheels':
                ros = self._needs['ROS_WHEELS'] + self._needs['INTERFACE_WHEELS']
                self._pip('ROS 2 Jazzy from PyPI', ros)
            build = self._begin_interfaces()
            self._pip('PyTorch (the largest part, some 4 GB)', self._needs['TORCH'])
            self._pip('the package and what else it needs', editable)
        build.join()
        self._link_share()
        if self._ros != 'wheels':
            self._write_start_up_hook()
            (VENV / 'ros.sh').write_text(ros_script(VENV))
        modules = 'cv2, numba, rclpy, sam2, segment_anything, torch, torchvision, rosbags'
        messages = ', '.join(package.name for package in packages(ROOT / 'interfaces'))
        statement = f'import {modules}, {messages}, {PACKAGE}'
        self._display.run('first import', [str(self._python), '-c', statement], self._env)
        compile_kernels = [str(self._python), '-m', f'{PACKAGE}.commands.cli', 'compile']
        self._display.run('kernels for this processor', compile_kernels, self._env)

    def _begin_interfaces(self) -> InterfaceBuild:
        """Build the messages that nothing brings, beside what else is going on."""
        if self._ros == 'wheels':
            include = Path(sysconfig.get_path('include'))
            correct_exported_paths(VENV, include, self._site_packages)
        return InterfaceBuild(self._own_packages(), VENV, self._site_packages, self._display)

    def _pip_locked(self, title: str, pins: Sequence[str]) -> None:
        """Install exactly these files, each checked against its hash."""
        wanted = VENV / 'locked.txt'
        wanted.write_text('\n'.join(pins) + '\n')
        options = ['--require-hashes', '--no-deps', '--no-build-isolation']
        self._pip(title, [*options, '--requirement', str(wanted)], constrained=False)

    def _create(self) -> None:
        mark = VENV / '.ros'
        if mark.is_file() and mark.read_text() != self._ros:
            raise StepError(
                f'{VENV} was set up for ROS {mark.read_text()}, this shell has {self._ros}: '
                'use a shell like the first one, or remove it by make distclean.'
            )
        if not self._site_packages.is_dir() or not self._python.exists():
            for left in VENV.iterdir():
                if left.is_dir():
                    shutil.rmtree(left)
            command = [sys.executable, '-m', 'venv', str(VENV)]
            if self._ros != 'wheels':
                command.append('--system-site-packages')
            self._display.run(f'virtual environment for {sys.executable}', command, self._env)
        mark.write_text(self._ros)

    def _pip(self, title: str, arguments: list[str], *, constrained: bool = True) -> None:
        command = [str(self._python), '-m', 'pip', 'install', '--no-input', '--progress-bar=off']
        command += ['--no-compile']
        if constrained:
            command += ['--constraint', str(ROOT / 'constraints.txt')]
        self._display.run(title, command + arguments, self._env)

    def _own_packages(self) -> list[Path]:
        """The interface packages to build: all that a ROS installation does not bring."""
        found = packages(ROOT / 'interfaces')
        if self._ros == 'wheels':
            return found
        return [
            package
            for package in found
            if (self._site_packages / package.name).is_dir()
            or not importable(package, self._python, self._env)
        ]

    def _link_share(self) -> None:
        """Give ROS tools the files that an editable installation leaves in the checkout.

        File by file: were a folder linked, `pip uninstall` would delete the sources in it.
        """
        share = VENV / 'share'
        scripts = [*(VENV / 'bin').glob('*_node'), VENV / 'bin' / 'sam_ad']
        links = {share / PACKAGE / file.relative_to(ROOT): file for file in shared_files()}
        links |= {VENV / 'lib' / PACKAGE / script.name: script for script in scripts}
        links[share / 'ament_index/resource_index/packages' / PACKAGE] = (
            ROOT / 'resource' / PACKAGE
        )
        for link, target in links.items():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(target)

    def _write_start_up_hook(self) -> None:
        """Let the interpreter find our messages' libraries beside a ROS installation.

        The wheels bring such a hook; an installation relies on its sourced script instead.
        """
        name = f'{PACKAGE}_library_path'
        shutil.copyfile(ROOT / 'tools' / 'library_path.py', self._site_packages / f'{name}.py')
        (self._site_packages / f'{name}.pth').write_text(f'import {name}\n')


def main() -> int:
    """Set the environment up unless it is; return the exit status."""
    ready = VENV / '.ready'
    wanted = stamp(os.environ)
    if ready.is_file() and ready.read_text() == wanted:
        return 0
    problems = lacking(os.environ)
    if problems:
        print('\n'.join(problems), file=sys.stderr)
        return 1
    VENV.mkdir(exist_ok=True)
    with (VENV / '.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if ready.is_file() and ready.read_text() == wanted:
            return 0
        ready.unlink(missing_ok=True)
        print(f'Setting up {VENV} (the first time some 4 minutes and 6 GB)', flush=True)
        display = Display(VENV / 'setup.log')
        try:
            Environment(display, os.environ).make()
        except StepError as error:
            print(f'\n{error}', file=sys.stderr)
            return 1
        ready.write_text(wanted)
        display.note('ready')
    return 0


if __name__ == '__main__':
    sys.exit(main())
