"""The life of a node's process, at its very beginning."""

import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

pytestmark = pytest.mark.ros

PROGRAM = """
import time
from sam_ad_perception.nodes import process

def prepare():
    print('before ROS', flush=True)
    for _ in range(2000):  # one long sleep may begin just after the signal came
        time.sleep(0.01)

process.prepare_environment = prepare
process.run_node(None)
print('left', flush=True)
"""


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_ros_is_there_ends_it_quietly(number):
    made = subprocess.Popen(
        [sys.executable, '-c', PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert made.stdout is not None
    assert made.stdout.readline() == 'before ROS\n'
    begin = time.monotonic()
    made.send_signal(number)
    output, _ = made.communicate(timeout=10)
    assert (made.returncode, output) == (0, 'left\n')
    assert time.monotonic() - begin < 2.0
