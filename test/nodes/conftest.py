"""Real ROS 2 for the tests: a domain of their own, nodes of their own, and bounded waiting."""

import fcntl
import os
import tempfile
import time
from pathlib import Path

import pytest


@pytest.fixture(scope='module')
def ros_domain():
    """A `ROS_DOMAIN_ID` for one test module, locked as `free_domain_id` locks one for a test."""
    folder = Path(tempfile.gettempdir()) / 'sam_ad_domains'
    folder.mkdir(exist_ok=True)
    for domain in range(100, 0, -1):
        lock = (folder / str(domain)).open('w')
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        break
    else:
        raise RuntimeError(f'all 100 ROS domains are locked in {folder}')
    with lock, pytest.MonkeyPatch.context() as patch:
        patch.setenv('ROS_DOMAIN_ID', str(domain))
        patch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
        yield domain


class Graph:
    """One context with one node and its executor, on this thread.

    Attributes:
        node: For the test's publishers, subscriptions and clients.
    """

    def __init__(self, domain: int) -> None:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.node = rclpy.create_node('observer', context=self.context)
        self.executor.add_node(self.node)

    def until(self, done, what: str, timeout: float = 20.0) -> None:
        """Spin until `done()` is true; fail with `what` after `timeout` seconds."""
        end = time.monotonic() + timeout
        while not done():
            if time.monotonic() > end:
                pytest.fail(f'waited {timeout:.0f} s for {what}')
            self.executor.spin_once(timeout_sec=0.02)

    def spin(self, seconds: float) -> None:
        """Spin for a time: only to see that something does *not* happen."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.01)

    def result(self, future, what: str, timeout: float = 20.0):
        """Spin until a future is done."""
        self.until(future.done, what, timeout)
        return future.result()

    def close(self) -> None:
        """Shut this context down."""
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture(scope='module')
def graph(ros_domain):
    pytest.importorskip('rclpy', reason='rclpy is not installed')
    made = Graph(ros_domain)
    yield made
    made.close()


@pytest.fixture(scope='session')
def node_environment():
    """Environment of a child process."""
    return dict(os.environ)
