"""`ros2 lifecycle` and `ros2 service` of the real command line on the segmentation node."""

import subprocess
import sys

import pytest

pytest.importorskip('ros2lifecycle', reason='ros2cli is not installed (not in the wheels)')
pytest.importorskip('rclpy', reason='rclpy is not installed')

from benchmarks.vehicle.processes import write_smallest_network

pytestmark = [pytest.mark.ros, pytest.mark.slow]
NODE = '/segmentation'
WAY = (
    ('configure', 'inactive [2]'),
    ('activate', 'active [3]'),
    ('deactivate', 'inactive [2]'),
    ('cleanup', 'unconfigured [1]'),
)
REFUSED = {
    'unconfigured [1]': (3, 99),
    'inactive [2]': (1, 10),
    'active [3]': (1, 3, 99),
}
"""State -> numbers of transitions that it does not have; all of them are in test/nodes."""


def ros2(*words):
    """What a command says; without a daemon it may end before it has found the node."""
    said = 'Node not found'
    for _ in range(20):
        if 'Node not found' not in said:
            break
        done = subprocess.run(['ros2', *words], capture_output=True, text=True, timeout=120)
        said = done.stdout + done.stderr
    return said


@pytest.fixture
def node(free_domain_id, tmp_path):
    write_smallest_network(tmp_path)
    told = {
        'autostart': 'false',
        'model.key': 'smallest',
        'model.zoo': tmp_path / 'zoo.yaml',
        'model.checkpoint_dir': tmp_path,
    }
    words = [word for name, value in told.items() for word in ('-p', f'{name}:={value}')]
    command = [sys.executable, '-m', 'sam_ad_perception.nodes', 'segmentation_node']
    process = subprocess.Popen([*command, '--ros-args', *words])
    try:
        while NODE not in (said := ros2('lifecycle', 'nodes', '--no-daemon')):
            assert process.poll() is None, said
        yield process
    finally:
        process.terminate()
        process.wait(20)


def test_every_state_answers_and_what_it_does_not_have_is_refused(node, count):
    def state():
        return ros2('lifecycle', 'get', NODE, '--no-daemon').strip()

    tried = set()

    def refuse():
        for number in REFUSED[now]:
            wanted = f'{{transition: {{id: {number}}}}}'
            kind = 'lifecycle_msgs/srv/ChangeState'
            said = ros2('service', 'call', f'{NODE}/change_state', kind, wanted)
            assert 'success=False' in said, said
            count('ros2 lifecycle', 'transitions refused')
        assert state() == now
        tried.add(now)

    now = state()
    assert now == 'unconfigured [1]'
    refuse()
    for transition, after in WAY:
        assert 'Transitioning successful' in ros2(
            'lifecycle', 'set', NODE, transition, '--no-daemon'
        )
        now = state()
        assert now == after
        count('ros2 lifecycle', 'transitions made')
        if now not in tried:
            refuse()
    assert 'Transitioning successful' in ros2('lifecycle', 'set', NODE, 'shutdown', '--no-daemon')
    assert state() == 'finalized [4]'
    assert node.poll() is None
