"""Builds ROS's own tools from source over the ROS wheels of `.venv`, for `make conformance`.

    ROS_SOURCES=FOLDER python -m tools.ros_stack [--nav2] [--jobs N]

FOLDER holds checkouts of the public repositories, one beside the other. They are read only: the
result is an environment of its own in `build/ros_stack`, which sees the packages of `.venv` and
has the pytest that ROS's plugins need. A package whose sources are not there, or that cannot be
built, is listed with the reason, and the others are built all the same.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from importlib.metadata import entry_points
from pathlib import Path
from xml.etree import ElementTree

from tools.environment import PACKAGE, VENV, shared_files
from tools.interfaces import build_environment, correct_exported_paths, digest, packages
from tools.progress import Display, StepError

ROOT = Path(__file__).resolve().parents[1]
STACK = ROOT / 'build' / 'ros_stack'
PYTHON = f'python{sys.version_info.major}.{sys.version_info.minor}'
WANTED = (
    *('launch', 'launch_xml', 'launch_yaml', 'launch_testing', 'launch_pytest', 'launch_ros'),
    *('launch_testing_ros', 'ros2cli', 'ros2launch', 'ros2lifecycle', 'ros2node', 'ros2param'),
    *('ros2pkg', 'ros2run', 'ros2service', 'ros2topic', 'ros2interface', 'tf2_py', 'tf2_ros_py'),
    *('sensor_msgs_py', 'message_filters', 'image_geometry', 'cv_bridge', 'bondpy'),
)
NAV2 = ('nav2_costmap_2d', 'semantic_segmentation_layer')
"""Built on request: what they need is many packages of C++."""
TOOLS = ('pytest>=7.4,<8', 'pytest-rerunfailures<16', 'pytest-xdist<3.7', 'psutil')
"""launch_testing of Jazzy stops pytest 8 and newer; ros2cli asks psutil for the network."""

_DEPENDENCIES = (
    *('depend', 'build_depend', 'build_export_depend', 'exec_depend'),
    *('buildtool_depend', 'buildtool_export_depend'),
)
_HOOK = """import os, site, sys
folders = {libraries!r}
found = os.environ.get('LD_LIBRARY_PATH', '').split(os.pathsep)
if not set(folders) <= set(found):
    # A workspace that was sourced comes before.
    for name, more in (('LD_LIBRARY_PATH', folders), ('AMENT_PREFIX_PATH', {prefixes!r})):
        there = [each for each in os.environ.get(name, '').split(os.pathsep) if each]
        os.environ[name] = os.pathsep.join(dict.fromkeys([*there, *more]))
    os.environ['_ROS_WHEELS_BOOTSTRAP_COMPLETE'] = '1'
    os.execv(sys.executable, sys.orig_argv)
site.addsitedir({packages!r})
"""
"""Runs when the interpreter of the stack starts: libraries of both environments, then modules."""

_LINK = '-Wl,--as-needed,--unresolved-symbols=ignore-in-shared-libs'
"""Messages name their Python libraries to C++, too; these find Python only where it is running."""
_REASONS = (
    r'(Could not find a package configuration file provided by "\S+")',
    r'(Could NOT find \S+.*)',
    r'(fatal error: .*)',
    r'(cannot find -l\S+)',
    r'(error: .*)',
    r'(\w*Error: .*)',
    r'CMake Error.*\n\s*(\S.*)',
)


@dataclass(frozen=True)
class Source:
    """One package of the folder of sources.

    Attributes:
        name: Of the package.
        folder: Where its package.xml is.
        build_type: `ament_python`, `ament_cmake` or another.
        needs: Names of what it is built and run with.
    """

    name: str
    folder: Path
    build_type: str
    needs: frozenset[str]


def find_sources(folder: Path) -> dict[str, Source]:
    """Read the manifests of all packages below a folder.

    Args:
        folder: Checkouts; what colcon is told to ignore is left out.

    Returns:
        Name -> package.

    Raises:
        ValueError: The folder has no package, or one name twice.
    """
    found: dict[str, Source] = {}
    for manifest in sorted(folder.rglob('package.xml')):
        inside = [manifest.parent, *manifest.parent.relative_to(folder).parents]
        if any((folder / each / 'COLCON_IGNORE').exists() for each in inside):
            continue
        root = ElementTree.parse(manifest).getroot()
        name = root.findtext('name', '').strip()
        needs = frozenset(
            each.text.strip() for tag in _DEPENDENCIES for each in root.findall(tag) if each.text
        )
        kind = root.findtext('export/build_type', 'ament_cmake').strip()
        if name in found:
            raise ValueError(f'{name} is there twice: {found[name].folder}, {manifest.parent}')
        found[name] = Source(name, manifest.parent, kind, needs)
    if not found:
        raise ValueError(f'ROS_SOURCES={folder}: no package.xml below it')
    return found


def plan_builds(
    wanted: Iterable[str], sources: Mapping[str, Source], installed: Iterable[str]
) -> list[Source]:
    """Put what is wanted, and what it needs, into an order in which it can be built.

    Args:
        wanted: Names; those without sources are left out.
        sources: What there is, by name.
        installed: Names of what needs no building.

    Returns:
        The packages; each comes after those that it needs.
    """
    there = set(installed)
    graph: dict[str, set[str]] = {}
    todo = [name for name in wanted if name in sources and name not in there]
    while todo:
        name = todo.pop()
        if name not in graph:
            graph[name] = {n for n in sources[name].needs if n in sources and n not in there}
            todo += graph[name]
    sorter = TopologicalSorter(graph)
    sorter.prepare()
    ready, ordered = list(sorter.get_ready()), []
    while ready:
        # What takes seconds first: it can be used while the rest is compiled.
        ready.sort(key=lambda name: (sources[name].build_type != 'ament_python', name))
        ordered.append(sources[ready[0]])
        sorter.done(ready.pop(0))
        ready += sorter.get_ready()
    return ordered


def python_part(source: Source) -> Path | None:
    """Find the Python package in a package that is both C++ and Python.

    Args:
        source: The package.
    """
    for place in ('', 'src', 'python'):
        folder = source.folder / place / source.name
        if (folder / '__init__.py').is_file():
            return folder
    return None


def installed_packages(prefix: Path) -> set[str]:
    """List the ROS packages of an installation.

    Args:
        prefix: Its folder.
    """
    index = prefix / 'share' / 'ament_index' / 'resource_index' / 'packages'
    return {each.name for each in index.glob('*')}


def find_reason(log: str) -> str:
    """Say in one line why a build failed.

    Args:
        log: All that it printed.
    """
    for pattern in _REASONS:
        found = re.findall(pattern, log)
        if found:
            return found[0].strip()
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return lines[-1] if lines else 'it printed nothing'


def _executables() -> dict[str, str]:
    """Our programs, by name, as `module:function`."""
    scripts = entry_points(group='console_scripts')
    return {each.name: each.value for each in scripts if each.module.startswith(f'{PACKAGE}.')}


class Stack:
    """The environment over `.venv`, and what is built into it.

    Args:
        folder: Where it is made.
        display: Where progress goes.
        jobs: Compilers at a time.
    """

    def __init__(self, folder: Path, display: Display, jobs: int) -> None:
        self._folder, self._display, self._jobs = folder, display, jobs
        self._packages = folder / 'lib' / PYTHON / 'site-packages'
        self._venv_packages = VENV / 'lib' / PYTHON / 'site-packages'
        self._python = folder / 'bin' / 'python'
        self._env = build_environment(folder, build_environment(VENV, os.environ))
        self._env['PIP_DISABLE_PIP_VERSION_CHECK'] = '1'
        self.table: dict[str, str] = {}

    def make(self) -> None:
        """Make the environment, with ROS's pytest and our package.

        Raises:
            StepError: A step failed.
        """
        if not self._python.exists():
            command = [sys.executable, '-m', 'venv', str(self._folder)]
            self._display.run('virtual environment over .venv', command, self._env)
        vendored = sorted(map(str, self._venv_packages.glob('ros_*.libs')))
        hook = _HOOK.format(
            libraries=[str(self._folder / 'lib'), str(VENV / 'lib'), *vendored],
            prefixes=[str(self._folder), str(VENV)],
            packages=str(self._venv_packages),
        )
        self._packages.joinpath('ros_stack_path.py').write_text(hook)
        self._packages.joinpath('a_ros_stack_path.pth').write_text('import ros_stack_path\n')
        pip = [str(self._python), '-m', 'pip', 'install', '--no-input', '--progress-bar=off']
        correct_exported_paths(VENV, Path(sysconfig.get_path('include')), self._venv_packages)
        self._display.run('pytest of ROS', [*pip, *TOOLS], self._env)
        self._link_package()

    def build(self, plan: Sequence[Source]) -> None:
        """Build packages one after the other, and note in `table` what became of each.

        Args:
            plan: In an order in which they can be built.
        """
        for number, source in enumerate(plan, 1):
            stamp = self._folder / 'stamps' / source.name
            wanted = f'{digest([source.folder])}\n'
            if stamp.is_file() and stamp.read_text().startswith(wanted):
                self.table[source.name] = stamp.read_text().removeprefix(wanted)
                continue
            self.table[source.name] = told = self._build(source, f'{number} of {len(plan)}')
            if told == 'built':
                stamp.parent.mkdir(exist_ok=True)
                stamp.write_text(f'{wanted}{told}')

    def _build(self, source: Source, count: str) -> str:
        """Build one package, or its Python part; return what became of it."""
        lacking = [n for n in sorted(source.needs) if self.table.get(n, '').startswith('not ')]
        if lacking:
            reason = f'{", ".join(lacking)} could not be built'
        else:
            log = self._folder / 'log' / f'{source.name}.log'
            log.parent.mkdir(exist_ok=True)
            log.write_text('')
            self._display.log = log
            try:
                for command in self._commands(source):
                    self._display.run(f'{count}: {source.name}', command, self._env)
                return 'built'
            except StepError:
                reason = find_reason(log.read_text(errors='replace'))
        part = python_part(source)
        if part is None:
            return f'not built: {reason}'
        shutil.copytree(part, self._packages / source.name, dirs_exist_ok=True)
        marker = self._folder / 'share/ament_index/resource_index/packages' / source.name
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
        return f'Python part only: {reason}'

    def _commands(self, source: Source) -> list[list[str]]:
        build = self._folder / 'work' / source.name
        if source.build_type == 'ament_python':
            # pip builds beside setup.py, and the checkouts of the user stay as they are.
            shutil.rmtree(build, ignore_errors=True)
            shutil.copytree(source.folder, build)
            pip = [str(self._python), '-m', 'pip', 'install', '--no-input', '--no-deps']
            return [[*pip, '--no-build-isolation', '--force-reinstall', str(build)]]
        configure = [
            *('cmake', '-S', str(source.folder), '-B', str(build), '-G', 'Ninja'),
            f'-DCMAKE_INSTALL_PREFIX={self._folder}',
            f'-DPython3_EXECUTABLE={self._python}',
            f'-DPYTHON_INSTALL_DIR={self._packages.relative_to(self._folder)}',
            f'-DCMAKE_EXE_LINKER_FLAGS={_LINK}',
            f'-DCMAKE_SHARED_LINKER_FLAGS={_LINK}',
            '-DCMAKE_BUILD_TYPE=Release',
            '-DBUILD_TESTING=OFF',
        ]
        install = ['cmake', '--build', str(build), '--target', 'install']
        return [configure, [*install, '--parallel', str(self._jobs)]]

    def _link_package(self) -> None:
        """Let `ros2 run` and `ros2 launch` find our package, run by the interpreter of the stack.

        The nodes of `.venv` would not see bondpy and message_filters.
        """
        share = self._folder / 'share'
        links = {share / PACKAGE / file.relative_to(ROOT): file for file in shared_files()}
        index = share / 'ament_index/resource_index/packages' / PACKAGE
        links[index] = ROOT / 'resource' / PACKAGE
        for link, target in links.items():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(target)
        scripts = self._folder / 'lib' / PACKAGE
        scripts.mkdir(parents=True, exist_ok=True)
        for name, place in _executables().items():
            module, function = place.split(':')
            text = f'#!{self._python}\nimport sys\nfrom {module} import {function}\n'
            scripts.joinpath(name).write_text(f'{text}sys.exit({function}())\n')
            scripts.joinpath(name).chmod(0o755)


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line.

    Args:
        argv: Its arguments; the process's own by default.

    Returns:
        Exit code: 1 where a package of those asked for is not there whole.
    """
    parser = argparse.ArgumentParser(prog='tools.ros_stack', description=__doc__.split('\n')[0])
    parser.add_argument('--nav2', action='store_true', help=f'also {", ".join(NAV2)}')
    parser.add_argument('--jobs', type=int, default=os.cpu_count() or 1, help='compilers at once')
    options = parser.parse_args(argv)
    named = os.environ.get('ROS_SOURCES')
    if not named:
        parser.error('ROS_SOURCES is not set: the folder of checkouts of the ROS repositories')
    try:
        sources = find_sources(Path(named).expanduser().resolve())
    except ValueError as error:
        parser.error(str(error))
    wanted = [*WANTED, *(NAV2 if options.nav2 else ())]
    STACK.mkdir(parents=True, exist_ok=True)
    display = Display(STACK / 'environment.log')
    stack = Stack(STACK, display, options.jobs)
    # Of packages in interfaces/ only the messages that we use are there.
    ours = {folder.name for folder in packages(ROOT / 'interfaces')}
    plan = plan_builds(wanted, sources, installed_packages(VENV) - ours)
    print(f'Building {len(plan)} packages into {STACK}', flush=True)
    try:
        stack.make()
    except StepError as error:
        print(f'\n{error}', file=sys.stderr)
        return 1
    stack.build(plan)
    table = {name: stack.table.get(name, 'not built: no sources of it') for name in wanted}
    table |= stack.table
    width = max(map(len, table))
    for name, told in sorted(table.items(), key=lambda each: each[1] != 'built'):
        print(f'  {name:{width}}  {told}')
    return int(any(table[name] != 'built' for name in wanted))


if __name__ == '__main__':
    sys.exit(main())
