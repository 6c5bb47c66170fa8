"""The life of a node's process, at its very beginning, and the memory that it keeps."""

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


IMPORTS = """
import os, sys

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == sys.argv[2]:
            os.kill(os.getpid(), int(sys.argv[1]))

sys.meta_path.insert(0, Finder)
sys.argv[0] = 'segmentation_node'
from sam_ad_perception.nodes.segmentation_node import main
print('goes on')
"""


@pytest.mark.parametrize('module', ['rclpy', 'numba', 'sam_ad_perception.nodes.worker'])
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_node_is_imported_ends_it_quietly(number, module):
    made = subprocess.run(
        [sys.executable, '-c', IMPORTS, str(int(number)), module],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (made.returncode, made.stdout, made.stderr) == (0, '', '')


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_as_always_where_the_nodes_are_only_imported(number):
    program = (
        f'import os, signal; signal.signal({int(number)}, signal.SIG_DFL)\n'  # may be ignored here
        f'import sam_ad_perception.nodes; os.kill(os.getpid(), {int(number)})'
    )
    made = subprocess.run([sys.executable, '-c', program], capture_output=True, timeout=60)
    assert made.returncode == -number


FAULTS = """
import resource, sys
import numpy as np
from sam_ad_perception.nodes.process import keep_memory

if sys.argv[1:]:
    keep_memory()
def work():
    for _ in range(10):
        images = [np.ones(6_220_800, np.uint8) for _ in range(4)]

work()
begin = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begin)
"""


def test_memory_that_is_kept_need_not_be_fetched_for_every_image():
    plain, kept = (
        int(subprocess.check_output([sys.executable, '-c', FAULTS, *arguments], timeout=60))
        for arguments in ([], ['keep'])
    )
    assert kept < plain / 10
