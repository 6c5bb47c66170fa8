import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from sam_ad_perception.bags.reader import BagReader

pytestmark = pytest.mark.ros

PUBLISHER = """
import sys, time
from sam_ad_perception.nodes.ros.environment import prepare_environment
prepare_environment()
import rclpy
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from std_msgs.msg import String, UInt32
rclpy.init()
node = rclpy.create_node('publisher')
latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
name = node.create_publisher(String, 'name', latched)
count = node.create_publisher(UInt32, 'count', qos_profile_sensor_data)
name.publish(String(data='latched before anybody listened'))
while count.get_subscription_count() == 0 or name.get_subscription_count() == 0:
    time.sleep(0.01)
for value in range(200):
    count.publish(UInt32(data=value))
    time.sleep(0.002)
print('done', flush=True)
sys.stdin.readline()
rclpy.shutdown()
"""


@pytest.mark.parametrize('end', [signal.SIGINT, signal.SIGTERM])
def test_every_message_is_in_the_bag_after_the_recorder_is_told_to_end(
    tmp_path, free_domain_id, end
):
    command = [
        sys.executable,
        '-m',
        'sam_ad_perception.nodes',
        'recorder_node',
        str(tmp_path / 'bag'),
        'name',
        'count',
    ]
    recorder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    publisher = subprocess.Popen(
        [sys.executable, '-c', PUBLISHER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    try:
        assert recorder.stdout.readline() == 'recording 2 topics\n'
        assert publisher.stdout.readline() == 'done\n'
        time.sleep(0.2)  # the last message is on its way; nothing else is waited for
        recorder.send_signal(end)
        assert recorder.wait(10) == 0
        publisher.communicate('\n', timeout=10)
    finally:
        for process in (recorder, publisher):
            process.kill()
    with BagReader(tmp_path / 'bag') as bag:
        latched = {topic.name: topic.latched for topic in bag.topics}
        assert latched == {'/count': False, '/name': True}
        found = [(m.topic, bag.deserialize(m).data) for m in bag.messages()]
    assert ('/name', 'latched before anybody listened') in found
    counts = np.array([value for topic, value in found if topic == '/count'])
    # The publisher starts when the subscription is matched, so no value may be missing.
    np.testing.assert_array_equal(counts, np.arange(200))


def test_an_existing_bag_is_left_alone(tmp_path, free_domain_id):
    (tmp_path / 'bag').mkdir()
    command = [
        sys.executable,
        '-m',
        'sam_ad_perception.nodes',
        'recorder_node',
        str(tmp_path / 'bag'),
        'name',
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 1
    assert 'exists already' in result.stderr
    assert 'Traceback' not in result.stderr
