"""What is installed is complete, is where ROS looks for it, and is declared once."""

from __future__ import annotations

import ast
import configparser
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from packaging.requirements import Requirement

from tools.environment import requirements

PACKAGE = 'sam_ad_perception'
ROOT = Path(__file__).resolve().parents[1]
MANIFEST = ElementTree.parse(ROOT / 'package.xml').getroot()
NEEDS = requirements(ROOT / 'setup.py')


def third_party_imports() -> set[str]:
    """Top-level modules that the package imports from outside the standard library."""
    found = set()
    for file in (ROOT / PACKAGE).rglob('*.py'):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split('.')[0])
    return found - set(sys.stdlib_module_names) - {PACKAGE}


def ros_packages_named() -> set[str]:
    """ROS packages whose messages the code imports or names, as in 'sensor_msgs/msg/Image'."""
    found = set()
    for file in (ROOT / PACKAGE).rglob('*.py'):
        text = file.read_text()
        found |= set(re.findall(r'\b([a-z][a-z0-9_]*)/(?:msg|srv)/[A-Z]', text))
        found |= set(re.findall(r'^\s*from ([a-z][a-z0-9_]*)\.(?:msg|srv) import', text, re.M))
    return found


def normal(name: str) -> str:
    return re.sub(r'[-_.]+', '-', name).lower()


def test_package_xml_and_setup_agree(setup_metadata: dict[str, Any]) -> None:
    assert setup_metadata['name'] == PACKAGE
    for field in ('name', 'version', 'license'):
        assert MANIFEST.findtext(field) == setup_metadata[field]
    assert MANIFEST.findtext('export/build_type') == 'ament_python'
    assert (ROOT / 'resource' / PACKAGE).read_bytes() == b''
    script_folder = configparser.ConfigParser()
    script_folder.read(ROOT / 'setup.cfg')
    assert script_folder['develop']['script_dir'] == f'$base/lib/{PACKAGE}'
    assert script_folder['install']['install_scripts'] == f'$base/lib/{PACKAGE}'


def test_changelog_begins_with_this_version() -> None:
    text = (ROOT / 'CHANGELOG.rst').read_text()
    assert f'Changelog for package {PACKAGE}' in text
    heading = re.search(r'^(\d+\.\d+\.\d+|Forthcoming)\b.*\n-+$', text, re.M)
    assert heading is not None
    assert heading[1] in {MANIFEST.findtext('version'), 'Forthcoming'}


def test_extra_test_lets_colcon_find_pytest(setup_metadata: dict[str, Any]) -> None:
    """Without it `colcon test` falls back to unittest, runs no test and reports success."""
    extra = [Requirement(line) for line in setup_metadata['extras_require']['test']]
    assert 'pytest' in {item.name for item in extra}


def test_every_third_party_import_is_declared() -> None:
    providers = importlib.metadata.packages_distributions()
    declared = {
        normal(Requirement(line).name)
        for line in NEEDS['REQUIRES'] + NEEDS['EXPORT'] + NEEDS['FLEET']
    }
    ros = {depend.text for depend in MANIFEST.findall('exec_depend')}
    # used where a ROS installation has them
    optional = {'cv_bridge', 'event_camera_py', 'message_filters'}
    undeclared = {
        module
        for module in third_party_imports() - ros - optional
        if not {normal(name) for name in providers.get(module, [])} & declared
    }
    assert undeclared == set()


def test_every_ros_package_in_use_is_in_package_xml() -> None:
    depends = {depend.text for depend in MANIFEST.findall('exec_depend')}
    # event arrays, for those whose driver brings the package
    optional = {'dvs_msgs', 'prophesee_event_msgs'}
    assert ros_packages_named() - depends - optional == set()


def test_constraints_cover_what_is_needed_and_hold_here() -> None:
    lines = (ROOT / 'constraints.txt').read_text().splitlines()
    bounds = {
        normal(item.name): item
        for item in (Requirement(line) for line in lines if line and not line.startswith('#'))
    }
    needed = {
        normal(Requirement(line).name)
        for line in NEEDS['REQUIRES'] + NEEDS['EXPORT'] + NEEDS['FLEET'] + NEEDS['TEST']
    }
    assert needed <= set(bounds)
    for name in needed:
        assert bounds[name].specifier.contains(importlib.metadata.version(name)), name


@pytest.mark.ros
def test_entry_points_import(executables: dict[str, str]) -> None:
    for target in executables.values():
        module, function = target.split(':')
        assert callable(getattr(import_module(module), function))


@pytest.fixture
def executables(setup_metadata: dict[str, Any]) -> dict[str, str]:
    """The console scripts: name to `module:function`."""
    lines = setup_metadata['entry_points']['console_scripts']
    return dict(line.split(' = ') for line in lines)


@pytest.fixture(scope='module')
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prefix of a plain `pip install .`, from a copy so that the checkout stays clean."""
    source = tmp_path_factory.mktemp('source') / 'checkout'
    # A ROS build folder and the environment are large, and git is not part of the package.
    left_out = shutil.ignore_patterns(
        '.*', 'build', 'install', 'log', '*.egg-info', '__pycache__', 'demo_output', 'runs', 'test'
    )
    shutil.copytree(ROOT, source, ignore=left_out)
    prefix = tmp_path_factory.mktemp('prefix')
    command = [sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--no-compile']
    command += ['--no-build-isolation', '--no-index', '--ignore-installed']
    command += ['--prefix', str(prefix), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return prefix


def test_share_folder_holds_what_the_checkout_has(installed: Path) -> None:
    share = installed / 'share' / PACKAGE
    marker = installed / 'share' / 'ament_index' / 'resource_index' / 'packages' / PACKAGE
    assert marker.read_bytes() == b''
    wanted = ['package.xml']
    for pattern in (
        'launch/*.py',
        'config/*',
        'models/*.yaml',
        'models/routing/*.yaml',
        'models/checkpoints/*_demo.safetensors',
    ):
        wanted += [str(file.relative_to(ROOT)) for file in ROOT.glob(pattern) if file.is_file()]
    assert {'config/fastdds.xml', 'models/zoo.yaml'} <= set(wanted)
    for name in wanted:
        assert (share / name).read_bytes() == (ROOT / name).read_bytes(), name


def test_only_the_package_is_importable(installed: Path) -> None:
    site_packages = next(installed.glob('lib/python3*/site-packages'))
    names = {entry.name for entry in site_packages.iterdir() if entry.suffix != '.dist-info'}
    assert names == {PACKAGE}
    data = {f for f in (ROOT / PACKAGE).rglob('*') if f.is_file() and '__pycache__' not in f.parts}
    for file in data:
        assert (site_packages / file.relative_to(ROOT)).is_file(), f'{file} is not installed'


def test_ros2_run_finds_the_executables(installed: Path, executables: dict[str, str]) -> None:
    for name in executables:
        wrapper = installed / 'lib' / PACKAGE / name
        assert os.access(wrapper, os.X_OK)
        script = installed / 'bin' / name
        script.write_text('#!/bin/sh\necho "$0" "$@"\n')  # which file is reached, and with what
        done = subprocess.run([wrapper, '--ros-args', 'a b'], capture_output=True, text=True)
        reached, told = done.stdout.split(' ', 1)
        assert Path(reached).samefile(script)
        assert told == '--ros-args a b\n'
