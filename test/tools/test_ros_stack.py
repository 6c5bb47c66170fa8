"""The stack of ROS's own tools: what is built, in which order, and what is said of the rest."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools import conformance, ros_stack
from tools.ros_stack import find_reason, find_sources, plan_builds, python_part


def package(root: Path, name: str, *needs: str, build: str = 'ament_cmake') -> Path:
    folder = root / f'repository_of_{name}' / name
    folder.mkdir(parents=True)
    told = ''.join(f'<depend> {each} </depend>' for each in needs)
    export = f'<export><build_type>{build}</build_type></export>'
    folder.joinpath('package.xml').write_text(
        f'<package format="3"><name>{name}</name>{told}<test_depend>gmock</test_depend>{export}'
        '</package>'
    )
    return folder


def test_sources_are_read_from_their_manifests(tmp_path: Path) -> None:
    package(tmp_path, 'tf2', 'geometry_msgs')
    package(tmp_path, 'launch', build='ament_python')
    package(tmp_path, 'hidden').joinpath('COLCON_IGNORE').touch()
    found = find_sources(tmp_path)
    assert set(found) == {'tf2', 'launch'}
    assert found['tf2'].needs == {'geometry_msgs'}
    assert (found['tf2'].build_type, found['launch'].build_type) == ('ament_cmake', 'ament_python')


def test_a_folder_without_packages_or_with_two_of_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r'no package\.xml below it'):
        find_sources(tmp_path)
    package(tmp_path / 'a', 'tf2')
    package(tmp_path / 'b', 'tf2')
    with pytest.raises(ValueError, match='tf2 is there twice'):
        find_sources(tmp_path)


def test_what_a_package_needs_is_built_before_it_and_what_is_there_is_not(tmp_path: Path) -> None:
    package(tmp_path, 'tf2_py', 'tf2', 'rclpy')
    package(tmp_path, 'tf2', 'messages')
    package(tmp_path, 'messages')
    package(tmp_path, 'rclpy')
    package(tmp_path, 'launch', build='ament_python')
    package(tmp_path, 'unwanted')
    sources = find_sources(tmp_path)
    plan = plan_builds(['tf2_py', 'launch', 'not_there'], sources, {'rclpy'})
    assert [each.name for each in plan] == ['launch', 'messages', 'tf2', 'tf2_py']


@pytest.mark.parametrize(
    ('log', 'reason'),
    [
        (
            'CMake Error at CMakeLists.txt:9 (find_package):\n  Could not find a package '
            'configuration file provided by "OpenCV" with any of\n  these names',
            'Could not find a package configuration file provided by "OpenCV"',
        ),
        ('a.cpp:1:10: fatal error: x.h: No such file\nerror: 2', 'fatal error: x.h: No such file'),
        ('/bin/ld: cannot find -llttng-ust: No such\nerror: ld', 'cannot find -llttng-ust'),
        ("Traceback\nModuleNotFoundError: No module named 'em'", 'ModuleNotFoundError: No module'),
        ('CMake Error at a.cmake:2\n  the files differ\n', 'the files differ'),
        ('something\nlast\n', 'last'),
        ('', 'it printed nothing'),
    ],
)
def test_a_reason_is_one_line_of_the_log(log: str, reason: str) -> None:
    assert find_reason(log).startswith(reason)
    assert '\n' not in find_reason(log)


def test_the_python_part_of_a_package_is_found(tmp_path: Path) -> None:
    folder = package(tmp_path, 'cv_bridge') / 'python' / 'cv_bridge'
    assert python_part(find_sources(tmp_path)['cv_bridge']) is None
    folder.mkdir(parents=True)
    folder.joinpath('__init__.py').touch()
    assert python_part(find_sources(tmp_path)['cv_bridge']) == folder


class Silent:
    """A display that runs nothing, and fails for packages of a name."""

    def __init__(self, log: Path, bad: str) -> None:
        self.log, self.bad = log, bad

    def run(self, title: str, command: list[str], env: dict[str, str]) -> None:
        if title.endswith(self.bad):
            self.log.write_text('fatal error: opencv.hpp: No such file')
            raise ros_stack.StepError('failed')


def test_one_failure_leaves_the_others_and_is_told_with_its_reason(tmp_path: Path) -> None:
    sources = tmp_path / 'sources'
    package(sources, 'rclcpp')
    package(sources, 'tf2')
    package(sources, 'tf2_ros', 'rclcpp', 'tf2')
    part = package(sources, 'cv_bridge', 'rclcpp') / 'python' / 'cv_bridge'
    part.mkdir(parents=True)
    part.joinpath('__init__.py').touch()
    display = Silent(tmp_path / 'log', ': rclcpp')
    stack = ros_stack.Stack(tmp_path / 'stack', display, 1)  # type: ignore[arg-type]
    (tmp_path / 'stack').mkdir()
    found = find_sources(sources)
    plan = plan_builds(found, found, ())
    stack.build(plan)
    reason = 'rclcpp could not be built'
    assert stack.table == {
        'rclcpp': 'not built: fatal error: opencv.hpp: No such file',
        'tf2': 'built',
        'tf2_ros': f'not built: {reason}',
        'cv_bridge': f'Python part only: {reason}',
    }
    packages = next((tmp_path / 'stack').glob('lib/python*/site-packages'))
    assert (packages / 'cv_bridge' / '__init__.py').is_file()
    display.bad = ': tf2'  # which is not built again, and would fail
    stack.build(plan)
    assert set(stack.table.values()) == {'built'}


def test_the_command_says_what_it_needs() -> None:
    command = [sys.executable, '-m', 'tools.ros_stack']
    done = subprocess.run(command, capture_output=True, text=True, env={'PATH': ''})
    assert done.returncode == 2
    assert 'ROS_SOURCES is not set' in done.stderr


def test_conformance_runs_with_the_interpreter_that_is_named_or_was_built(tmp_path: Path) -> None:
    assert conformance.choose_interpreter({}, tmp_path) == Path(sys.executable)
    built = tmp_path / 'bin' / 'python'
    built.parent.mkdir()
    built.touch()
    assert conformance.choose_interpreter({}, tmp_path) == built
    named = {'ROS_PYTHON': '/usr/bin/python3'}
    assert conformance.choose_interpreter(named, tmp_path) == Path('/usr/bin/python3')


def test_every_peer_that_the_tests_ask_for_is_told_where_it_lacks() -> None:
    asked = set()
    for place in conformance.TESTS:
        path = conformance.ROOT / place
        for file in [path] if path.is_file() else path.glob('test_*.py'):
            asked |= set(re.findall(r"importorskip\('(\w+)'", file.read_text()))
    assert asked - {'rclpy'} <= set(conformance.PEERS)
