"""The set-up reads setup.py rightly, names what a machine lacks, and sees what has changed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tools.environment import ROOT, lacking, requirements, ros_distribution, ros_script
from tools.interfaces import build_environment, correct_exported_paths, digest
from tools.progress import Display, StepError, brief


def test_lists_are_those_that_setuptools_reads(setup_metadata: dict[str, Any]) -> None:
    lists = requirements(ROOT / 'setup.py')
    assert setup_metadata['install_requires'] == lists['REQUIRES']
    extras = setup_metadata['extras_require']
    assert extras['export'] == lists['EXPORT']
    assert extras['fleet'] == lists['FLEET']
    assert extras['test'] == lists['TEST']
    assert extras['dev'] == lists['DEVELOP']
    assert extras['wheels'] == lists['ROS_WHEELS']
    assert extras['interfaces'] == lists['INTERFACE_TOOLS'] + lists['INTERFACE_WHEELS']


def test_this_machine_lacks_nothing() -> None:
    assert lacking(os.environ) == []


def test_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv('PATH', str(tmp_path))
    assert lacking(os.environ) == ['A C++ compiler is missing: install g++ (or build-essential).']


def test_sourced_ros_needs_its_own_interpreter() -> None:
    """An interpreter without rclpy, that of another version say, is refused by name."""
    env = {'ROS_DISTRO': 'jazzy', 'AMENT_PREFIX_PATH': '/opt/ros/jazzy'}
    statement = f'from tools.environment import lacking; print(*lacking({env}))'
    command = [sys.executable, '-S', '-c', statement]  # -S: without the wheels' rclpy
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert 'ROS 2 jazzy is sourced, but python3' in done.stdout
    assert 'PYTHON=python3' in done.stdout


@pytest.mark.parametrize(
    ('env', 'found'),
    [
        ({}, 'wheels'),
        ({'AMENT_PREFIX_PATH': '/somewhere/.venv'}, 'wheels'),
        ({'ROS_DISTRO': 'jazzy', 'AMENT_PREFIX_PATH': '/opt/ros/jazzy'}, 'jazzy'),
    ],
)
def test_distribution(env: dict[str, str], found: str) -> None:
    assert ros_distribution(env) == found


def test_a_shell_that_sources_the_script_lets_ros_find_the_package(tmp_path: Path) -> None:
    script = tmp_path / 'ros.sh'
    script.write_text(ros_script(tmp_path))
    shown = 'echo "$AMENT_PREFIX_PATH $PYTHONPATH $PATH"'
    for before, after in (('', ''), ('/opt/ros/jazzy', ':/opt/ros/jazzy')):
        done = subprocess.run(
            ['sh', '-euc', f'. {script}; {shown}'],
            env={'AMENT_PREFIX_PATH': before, 'PYTHONPATH': before, 'PATH': '/usr/bin'},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == [
            f'{tmp_path}{after}',
            f'{ROOT}{after}',
            f'{tmp_path}/bin:/usr/bin',
        ]


def test_make_without_python_says_what_to_install() -> None:
    done = subprocess.run(
        ['make', '--no-print-directory', 'setup', 'PYTHON='],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert done.stderr.splitlines()[0].startswith('Python 3.11, 3.12 or 3.13 is missing: install')


def test_digest_sees_names_and_contents_only(tmp_path: Path) -> None:
    folder = tmp_path / 'interfaces'
    (folder / 'msg').mkdir(parents=True)
    file = folder / 'msg' / 'A.msg'
    file.write_text('uint8 x\n')
    first = digest([folder])
    (folder / '__pycache__').mkdir()
    (folder / '__pycache__' / 'x.pyc').write_bytes(b'1')
    os.utime(file, (0, 0))
    assert digest([folder]) == first
    file.write_text('uint8 y\n')
    second = digest([folder])
    file.rename(folder / 'msg' / 'B.msg')
    assert len({first, second, digest([folder])}) == 3
    moved = tmp_path / 'elsewhere' / 'interfaces'
    shutil.copytree(folder, moved)
    assert digest([moved]) == digest([folder])


def test_exported_paths_are_corrected_once(tmp_path: Path) -> None:
    cmake = tmp_path / 'share' / 'std_msgs' / 'cmake'
    cmake.mkdir(parents=True)
    foreign = '/opt/python/cp312-cp312'
    (cmake / 'a.cmake').write_text(
        f'"{foreign}/include/python3.12;{foreign}/lib/python3.12/site-packages/numpy/_core/include"'
    )
    (cmake / 'b.cmake').write_text('"${_IMPORT_PREFIX}/include"')
    (cmake / 'c.cmake').write_text('"lttng-ust;dl" "fastcdr;/usr/lib64/libtinyxml2.so;-lrt"')
    include, packages = Path('/usr/include/python3.12'), tmp_path / 'lib/python3.12/site-packages'
    assert correct_exported_paths(tmp_path, include, packages) == 2
    assert (cmake / 'a.cmake').read_text() == f'"{include};{packages}/numpy/_core/include"'
    assert (cmake / 'b.cmake').read_text() == '"${_IMPORT_PREFIX}/include"'
    assert (cmake / 'c.cmake').read_text() == '"dl" "fastcdr;-lrt"'
    assert correct_exported_paths(tmp_path, include, packages) == 0


def test_build_finds_a_sourced_installation_behind_the_environment() -> None:
    env = build_environment(Path('/v'), {'AMENT_PREFIX_PATH': '/opt/ros/jazzy', 'PATH': '/bin'})
    assert env['AMENT_PREFIX_PATH'] == env['CMAKE_PREFIX_PATH'] == '/v:/opt/ros/jazzy'
    assert (env['PATH'], env['LD_LIBRARY_PATH']) == ('/v/bin:/bin', '/v/lib')


def test_failed_step_shows_the_end_of_its_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    display = Display(tmp_path / 'log' / 'setup.log')
    display.run('fine', [sys.executable, '-c', 'print("inside")'], os.environ)
    with pytest.raises(StepError, match=r'(?s)^bad: failed\n.*the reason\n\(all of it: .*log\)$'):
        display.run('bad', [sys.executable, '-c', 'exit("the reason")'], os.environ)
    printed = capsys.readouterr().out
    assert re.search(r'0:0\d  fine: \d s', printed)
    assert 'inside' not in printed
    assert 'inside' in (tmp_path / 'log' / 'setup.log').read_text()


@pytest.mark.parametrize(
    ('output', 'text'),
    [
        ('', ''),
        ('Collecting torch\nWARNING: a mirror is away\n', 'Collecting torch'),
        (
            'Collecting x\n  Downloading https://host/a/torch-2.15.0-cp311-linux.whl (890.1 MB)\n',
            'downloading torch (890.1 MB)',
        ),
        ('Installing collected packages: mpmath, sympy, torch\n', 'unpacking 3 packages'),
        ('-- Configuring done\n', '-- Configuring done'),
    ],
)
def test_output_is_told_in_short(output: str, text: str) -> None:
    assert brief(output) == text


def test_start_up_hook_adds_the_libraries_once(tmp_path: Path) -> None:
    """In a real environment: the loader's path holds our libraries, the arguments are kept."""
    venv = tmp_path / 'venv'
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', str(venv)], check=True)
    site_packages = next(venv.glob('lib/python3*/site-packages'))
    shutil.copyfile(ROOT / 'tools' / 'library_path.py', site_packages / 'hook.py')
    (site_packages / 'hook.pth').write_text('import hook\n')
    env = {k: v for k, v in os.environ.items() if k != 'LD_LIBRARY_PATH'}
    env |= {'AMENT_PREFIX_PATH': '/opt/ros/jazzy'}
    script = 'import os, sys; print(os.environ["LD_LIBRARY_PATH"], os.environ["AMENT_PREFIX_PATH"]'
    command = [str(venv / 'bin' / 'python'), '-c', f'{script}, sys.argv[1:], sys.prefix)', 'a b']
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert done.stdout == f"{venv}/lib {venv}:/opt/ros/jazzy ['a b'] {venv}\n"
