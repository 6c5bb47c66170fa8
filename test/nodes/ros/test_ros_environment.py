"""What a process gets when nothing was sourced, and that a sourced ROS is left alone."""

import subprocess
import sys

import pytest

from sam_ad_perception.core.console.installation import share_folder
from sam_ad_perception.nodes.ros.environment import PROFILE_VARIABLES, prepare_environment


def test_unset_variables_are_set_to_this_checkout(repository):
    environment = {}
    prepare_environment(environment)
    assert environment['AMENT_PREFIX_PATH'] == sys.prefix
    for name in PROFILE_VARIABLES:
        assert environment[name] == str(repository / 'config' / 'fastdds.xml')


def test_what_is_set_is_left_alone():
    environment = {'AMENT_PREFIX_PATH': '/opt/ros/jazzy', PROFILE_VARIABLES[0]: '/mine.xml'}
    before = dict(environment)
    prepare_environment(environment)
    assert environment == before


def test_an_absent_folder_is_named():
    with pytest.raises(FileNotFoundError, match='no_such_folder'):
        share_folder('no_such_folder')


def test_worker_configuration_and_schedule_need_no_ros():
    modules = ('ros.configuration', 'ros.diagnostics', 'ros.environment', 'ros.topics')
    modules += ('inputs.history', 'segmentation.worker', 'segmentation.model_loading')
    modules += ('replay.schedule', 'replay.summary')
    code = 'import sys\n' + ''.join(f'import sam_ad_perception.nodes.{m}\n' for m in modules)
    code += "print(*[m for m in ('rclpy', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ''


def test_nodes_that_run_no_network_import_no_torch():
    pytest.importorskip('rclpy', reason='rclpy is not installed')
    names = ('depth_projection_node', 'visualization_node', 'replay_node', 'segmentation_node')
    code = 'import sys\n' + ''.join(f'import sam_ad_perception.nodes.{n}\n' for n in names)
    code += "print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == 'False'
