"""The bond with a lifecycle manager: bondpy itself is the other side."""

import subprocess
import sys
import time
from contextlib import suppress

import pytest

pytest.importorskip('bondpy', reason='bondpy is not installed (not in the wheels)')
pytest.importorskip('rclpy', reason='rclpy is not installed')

from bond.msg import Status
from bondpy import bondpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.exceptions import InvalidHandle

from benchmarks.vehicle.processes import write_smallest_network

pytestmark = [pytest.mark.ros, pytest.mark.slow]
LONG_S = 300.0  # of a machine that compiles kernels meanwhile


@pytest.fixture
def graph(free_domain_id):
    from test.nodes.conftest import Graph

    made = Graph(free_domain_id)
    yield made
    made.close()


@pytest.fixture
def node(graph, tmp_path):
    write_smallest_network(tmp_path)
    told = {
        'autostart': 'false',
        'bond_heartbeat_period': '0.1',
        'model.key': 'smallest',
        'model.zoo': tmp_path / 'zoo.yaml',
        'model.checkpoint_dir': tmp_path,
    }
    words = [word for name, value in told.items() for word in ('-p', f'{name}:={value}')]
    command = [sys.executable, '-m', 'sam_ad_perception.nodes', 'segmentation_node']
    with (tmp_path / 'node.log').open('w') as log:
        process = subprocess.Popen([*command, '--ros-args', *words], stderr=log)
    yield process
    process.kill()
    process.wait(20)


@pytest.fixture
def change(graph, node):
    client = graph.node.create_client(ChangeState, '/segmentation/change_state')
    graph.until(client.service_is_ready, 'the node', timeout=LONG_S)

    def ask(transition):
        request = ChangeState.Request()
        request.transition.id = transition
        assert graph.result(client.call_async(request), str(transition), timeout=LONG_S).success

    return ask


def form(graph, timeout_s):
    """The manager's side, as nav2's makes it, formed."""
    broken, heard = [], []

    def hear(status):
        if status.instance_id == bond.instance_id:
            heard.append(status)

    ears = graph.node.create_subscription(Status, 'bond', hear, 10)
    bond = bondpy.Bond(graph.node, 'bond', 'segmentation', lambda: broken.append(time.monotonic()))
    bond.connect_timeout = LONG_S
    bond.heartbeat_period = 0.1
    bond.heartbeat_timeout = timeout_s
    bond.start()
    graph.until(lambda: bond.sister_instance_id, 'the bond', timeout=LONG_S)
    graph.until(lambda: bond.pub.get_subscription_count() > 2, 'the node', timeout=LONG_S)
    before = len(heard)
    # bondpy misses no heartbeat before the second one that it has heard.
    graph.until(lambda: len(heard) > before + 5, 'heartbeats', timeout=LONG_S)
    graph.node.destroy_subscription(ears)
    assert not broken
    return bond, broken


def end(graph, bond):
    """As our node does: bondpy destroys what the node still waits for."""
    bond.shutdown()
    with suppress(InvalidHandle):
        graph.node.destroy_subscription(bond.sub)
    with suppress(InvalidHandle):
        graph.node.destroy_publisher(bond.pub)


def test_both_sides_see_each_other_live_leave_and_die(graph, node, change, tmp_path, count):
    change(Transition.TRANSITION_CONFIGURE)
    change(Transition.TRANSITION_ACTIVATE)
    bond, broken = form(graph, LONG_S)
    change(Transition.TRANSITION_DEACTIVATE)
    graph.until(lambda: broken, 'the break on deactivate', timeout=LONG_S)
    end(graph, bond)
    change(Transition.TRANSITION_ACTIVATE)
    bond, broken = form(graph, LONG_S)
    with bond.lock:  # no farewell: its heartbeat just ends
        bond.is_shutdown = True
        bond.condition.notify_all()
    log = tmp_path / 'node.log'
    graph.until(lambda: 'no lifecycle manager' in log.read_text(), 'a word', timeout=LONG_S)
    change(Transition.TRANSITION_DEACTIVATE)
    change(Transition.TRANSITION_ACTIVATE)
    bond, broken = form(graph, 2.0)
    assert not broken
    node.terminate()
    graph.until(lambda: broken, 'the missing heartbeat', timeout=LONG_S)
    end(graph, bond)
    assert node.wait(LONG_S) == 0
    assert 'Traceback' not in log.read_text()
    count('bondpy', 'bonds formed', 3)
    count('bondpy', 'breaks seen by the manager', 2)
    count('bondpy', 'breaks seen by the node')
