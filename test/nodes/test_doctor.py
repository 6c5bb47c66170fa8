"""`sam_ad doctor` on made-up machines, and on live topics with the faults that it must name."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

import rclpy
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from sam_ad_perception.commands.doctor import machine
from sam_ad_perception.commands.doctor.findings import FAIL, NOTE, OK, WARN, Finding, run_checks
from sam_ad_perception.core.messages.from_ros import camera_to_message
from sam_ad_perception.nodes.ros.rclpy_helpers import message_type

pytestmark = pytest.mark.ros

HOUR_NS = 3600 * 10**9


def states(findings: Iterator[Finding]) -> list[str]:
    return [finding.state for finding in findings]


def test_small_socket_buffer_is_told_with_its_mend(tmp_path: Path) -> None:
    (tmp_path / 'rmem_max').write_text('212992\n')
    (tmp_path / 'wmem_max').write_text(f'{8 << 20}\n')
    low, high = machine.check_socket_buffers(tmp_path)
    assert (low.state, high.state) == (WARN, OK)
    assert low.text.startswith('rmem_max 0.2 MiB')
    assert low.fix == 'sudo sysctl -w net.core.rmem_max=4194304'
    assert states(machine.check_socket_buffers(tmp_path / 'none')) == [NOTE, NOTE]


def test_dds_profile_must_be_there_and_give_room(tmp_path: Path) -> None:
    name = machine.PROFILE_VARIABLES[0]
    small = tmp_path / 'small.xml'
    small.write_text('<dds/>')
    ours = Path(__file__).parents[2] / 'config' / 'fastdds.xml'
    for environment, state in (
        ({}, FAIL),
        ({name: str(tmp_path / 'absent.xml')}, FAIL),
        ({name: str(small)}, WARN),
        ({name: str(ours)}, OK),
    ):
        assert states(machine.check_dds_profile(environment)) == [state]


def test_segment_litter_is_counted_only_where_no_ros_runs(tmp_path, monkeypatch) -> None:
    (tmp_path / 'fastrtps_0123456789abcdef').write_bytes(b'x' * 1000)
    monkeypatch.setattr(machine, '_ros_runs', lambda: False)
    findings = list(machine.check_shared_memory(tmp_path))
    assert findings[-1].text == '1 segments (0 MiB) of processes that were killed'
    monkeypatch.setattr(machine, '_ros_runs', lambda: True)
    assert all('killed' not in f.text for f in machine.check_shared_memory(tmp_path))


def test_wrong_checkpoint_fails_and_an_absent_one_is_a_note(tmp_path: Path) -> None:
    (tmp_path / 'mle_sam_demo.safetensors').write_bytes(b'not the file')
    found = list(machine.look_at_weights(None, tmp_path))
    (spoilt,) = (f for f in found if f.text.startswith('mle_sam_demo:'))
    assert spoilt.state == FAIL
    assert 'wrong sha256' in spoilt.text
    (absent,) = (f for f in found if ' ad_sam,' in f.text)
    assert (absent.state, absent.fix) == (NOTE, 'no weights of this network are published')
    here = {f.text.split(':')[0]: f.state for f in machine.look_at_weights(None, None)}
    assert here['mle_sam_demo'] == OK


def test_broken_check_is_a_finding_and_the_others_still_run() -> None:
    def check_glass() -> Iterator[Finding]:
        yield Finding('glass', OK, 'half full')
        raise RuntimeError('it fell')

    told: list[Finding] = []
    assert run_checks([check_glass, machine.check_python], told.append) == 1
    assert [(f.what, f.state) for f in told] == [('glass', OK), ('glass', FAIL), ('Python', OK)]
    assert run_checks([machine.check_python], told.append) == 0


@pytest.fixture(scope='module')
def told(graph, vehicle_type, start, ros_domain):
    """Lines of `sam_ad doctor` in front of a vehicle with five faults."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('COLUMNS', '240')
        process = start(
            'doctor', '--seconds', '4', '--namespace', '/car', 'camera/camera_info:=/cam/info'
        )
    sensors = vehicle_type(graph, {})
    node = graph.node
    best_effort = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    volatile = QoSProfile(depth=5, durability=DurabilityPolicy.VOLATILE)
    image, info = (message_type(f'sensor_msgs/msg/{kind}') for kind in ('Image', 'CameraInfo'))
    camera = node.create_publisher(image, '/car/camera/image_rect', best_effort)
    geometry = node.create_publisher(info, '/cam/info', 5)
    thermal = node.create_publisher(image, '/car/thermal/image_rect', 5)
    node.create_publisher(image, '/car/points', 5)
    node.create_publisher(message_type('tf2_msgs/msg/TFMessage'), '/tf_static', volatile)
    reader = rclpy.create_node('segmentation', context=graph.context, namespace='/car')
    reader.create_subscription(image, 'camera/image_rect', lambda message: None, 5)  # reliable
    reader.create_subscription(image, 'thermal/image_rect', lambda message: None, 5)
    end = time.monotonic() + 120
    while process.running:
        assert time.monotonic() < end, process.output
        now_ns = time.time_ns()
        camera.publish(sensors.image('camera', now_ns))
        geometry.publish(camera_to_message(message_type, sensors.camera('camera'), now_ns))
        thermal.publish(sensors.image('thermal', now_ns - HOUR_NS))
        graph.spin(0.05)
    reader.destroy_node()
    assert process.process.returncode == 1, process.output
    return [' '.join(line.split()) for line in process.output.splitlines()]


def line_with(told: list[str], *words: str) -> str:
    lines = [line for line in told if all(word in line for word in words)]
    assert len(lines) == 1, '\n'.join(told)
    return lines[0]


def test_healthy_camera_is_ok_with_rate_and_age(told) -> None:
    assert line_with(told, '/car/camera/image_rect:', 'Hz').startswith('ok camera')
    assert line_with(told, '/car/camera/image_rect is best effort').startswith('ok camera')
    assert not [line for line in told if 'no /cam/info' in line]


def test_clock_that_is_an_hour_off_is_told(told) -> None:
    line = line_with(told, '/car/thermal/image_rect:', 'Hz')
    assert line.startswith('warn thermal')
    offset_s = float(line.split('stamps are ')[1].split(' s behind')[0])
    assert 3600 <= offset_s < 3605
    line_with(told, 'or set bundler.sync.thermal.offset_s: -360')


def test_a_reader_that_asks_for_more_than_a_driver_offers_is_told(told) -> None:
    line_with(told, 'ok nodes', 'segmentation in this ROS domain')
    line = line_with(told, 'FAIL QoS')
    assert '/car/camera/image_rect: nothing gets from observer to segmentation' in line
    assert 'best effort publisher and reliable subscription' in line
    line_with(told, '-> set qos.reliability to best_effort in the parameters of segmentation')


def test_missing_geometry_absent_sensor_and_wrong_type_are_told(told) -> None:
    line_with(told, 'warn thermal', 'no /car/thermal/camera_info: thermal is not used')
    line_with(told, 'off event', 'nobody publishes /car/events')
    line_with(
        told, 'FAIL lidar', '/car/points is sensor_msgs/msg/Image, not sensor_msgs/msg/Point'
    )


def test_volatile_static_transforms_are_told(told) -> None:
    line_with(told, 'FAIL transforms', 'is volatile: who starts later gets nothing')


def test_each_provider_of_onnx_runtime_has_a_line_with_its_reason():
    onnxruntime = pytest.importorskip('onnxruntime')
    found = {finding.what: finding for finding in machine.check_onnx_runtime()}
    assert list(found) == [f'ONNX Runtime {name}' for name in ('cpu', 'cuda', 'tensorrt')]
    assert found['ONNX Runtime cpu'].state == OK
    if 'CUDAExecutionProvider' not in onnxruntime.get_available_providers():
        assert 'is built without it' in found['ONNX Runtime cuda'].text
        assert 'onnxruntime-gpu' in found['ONNX Runtime cuda'].fix
