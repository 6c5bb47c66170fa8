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
from sam_ad_perception.nodes.ros import process

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
    made.send_signal(number)
    output, _ = made.communicate(timeout=60)
    assert (made.returncode, output) == (0, 'left\n')


SPINNING = """
import os, signal, time
from sam_ad_perception.nodes.ros.process import run_node
from sam_ad_perception.nodes.ros.node import PerceptionNode

class Worker(PerceptionNode):
    def __init__(self):
        super().__init__('worker')
        self.create_timer(0.05, self.work)

    def work(self):
        os.kill(os.getpid(), signal.NUMBER)
        for _ in range(10):
            time.sleep(0.01)
        print('finished its work', flush=True)

code = run_node(Worker, [])
print('left', code, flush=True)
"""


@pytest.mark.parametrize('name', ['SIGINT', 'SIGTERM'])
def test_a_signal_amid_the_work_of_an_executor_lets_it_finish(name, ros_domain):
    """An exception in the executor would leave handles in use, and shared memory behind."""
    made = subprocess.run(
        [sys.executable, '-c', SPINNING.replace('NUMBER', name)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (made.returncode, made.stdout) == (0, 'finished its work\nleft 0\n'), made.stderr


IMPORTS = """
import os, sys

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), int(number))

_, number, module = sys.argv
sys.argv[:] = ['segmentation_node']
sys.meta_path.insert(0, Finder)
from sam_ad_perception.nodes.start import segmentation_node
segmentation_node()
print('goes on')
"""


@pytest.mark.parametrize(
    'module', ['rclpy', 'numba', 'sam_ad_perception.nodes.segmentation.worker']
)
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_node_is_imported_ends_it_quietly(number, module):
    made = subprocess.run(
        [sys.executable, '-c', IMPORTS, str(int(number)), module],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (made.returncode, made.stdout, made.stderr) == (0, '', '')


EVERYTHING = """
import os, pkgutil, signal, sys
from importlib import import_module

import cv2, rclpy, torch  # what others set is theirs

sys.argv[0] = 'my_node'
numbers = (signal.SIGINT, signal.SIGTERM)
for number in numbers:
    signal.signal(number, signal.SIG_DFL)  # may be ignored here
before = dict(os.environ)
import sam_ad_perception
names = [m.name for m in pkgutil.walk_packages(sam_ad_perception.__path__, 'sam_ad_perception.')]
skipped = []
for name in names:
    if not name.endswith('__main__'):
        try:
            import_module(name)
        except ModuleNotFoundError as err:  # an optional part of another package
            skipped.append((name, err.name))
assert all(not missing.startswith('sam_ad') for _, missing in skipped), skipped
assert len(names) - len(skipped) > 150, skipped
assert [signal.getsignal(n) for n in numbers] == [signal.SIG_DFL] * 2
changed = {k for k in {*before, *os.environ} if before.get(k) != os.environ.get(k)}
changed.discard('TORCHINDUCTOR_CACHE_DIR')  # torch's own
assert not changed, changed
print('as before')
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_importing_every_module_leaves_signals_and_environment_as_they_were():
    made = subprocess.run(
        [sys.executable, '-c', EVERYTHING], capture_output=True, text=True, timeout=300
    )
    assert (made.returncode, made.stdout) == (-signal.SIGTERM, 'as before\n'), made.stderr


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_node_run_by_its_module_leaves_quietly_too(number, tmp_path):
    made = subprocess.Popen(
        [sys.executable, '-m', 'sam_ad_perception.nodes', 'segmentation_node'],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    time.sleep(0.7)  # while it imports, or, on a fast machine, just after
    made.send_signal(number)
    output, _ = made.communicate(timeout=30)
    assert made.returncode == 0, output
    assert 'Traceback' not in output


FAULTS = """
import resource, sys
import numpy as np
from sam_ad_perception.nodes.ros.process import keep_memory

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
