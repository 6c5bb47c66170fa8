"""`ros2 param dump` and `load` of the real command line."""

import subprocess
import sys
import time

import pytest

pytest.importorskip('ros2param', reason='ros2cli is not installed (not in the wheels)')
pytest.importorskip('rclpy', reason='rclpy is not installed')

pytestmark = [pytest.mark.ros, pytest.mark.slow]


def ros2(*words):
    done = subprocess.run(['ros2', *words], capture_output=True, text=True, timeout=120)
    return done.stdout + done.stderr


@pytest.fixture
def node(free_domain_id):
    command = [sys.executable, '-m', 'sam_ad_perception.nodes', 'visualization_node']
    process = subprocess.Popen(command)
    try:
        end = time.monotonic() + 90
        while '/visualization' not in (said := ros2('node', 'list', '--no-daemon')):
            assert process.poll() is None
            assert time.monotonic() < end, f'the node did not come: {said}'
        yield '/visualization'
    finally:
        process.terminate()
        process.wait(20)


def test_what_is_dumped_can_be_loaded_as_it_is(node, tmp_path, count):
    dumped = ros2('param', 'dump', node, '--no-daemon')
    assert 'ros__parameters' in dumped
    file = tmp_path / 'dumped.yaml'
    file.write_text(dumped)
    answers = ros2('param', 'load', node, str(file), '--no-daemon').splitlines()
    assert len(answers) > 20
    assert [each for each in answers if 'successful' not in each] == []
    count('ros2 param', 'parameters loaded again', len(answers))
