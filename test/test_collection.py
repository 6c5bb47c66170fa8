"""The tests can be collected beside ROS's own pytest plugins, whatever way files are imported."""

import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_each_test_file_has_a_name_of_its_own():
    # pytest 7 with the plugins of launch_testing imports test files by their base name.
    counts = Counter(file.name for file in (ROOT / 'test').rglob('test_*.py'))
    assert {name for name, count in counts.items() if count > 1} == set()


def test_plugins_of_ros_stay_out_of_every_run():
    settings = tomllib.loads((ROOT / 'pyproject.toml').read_text())['tool']['pytest']
    told = settings['ini_options']['addopts']
    assert {'-pno:launch_testing', '-pno:launch_ros', '-pno:launch_pytest'} <= set(told)


def test_only_the_launch_tests_need_a_plugin_of_ros():
    using = {
        file.parent.name
        for file in (ROOT / 'test').rglob('test_*.py')
        if '\nimport launch_pytest' in file.read_text()
    }
    assert using <= {'launch'}
