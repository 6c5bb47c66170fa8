"""The segmentation node as a process over DDS: masks, faults, parameters, lifecycle, leaving."""

import re
import signal
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy.parameter import Parameter

from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.messages import from_ros

pytestmark = pytest.mark.ros

ALL = ('camera', 'thermal', 'event', 'lidar')
OPTIONS = ['-p', 'qos.reliability:=reliable', '-p', 'diagnostics_period_s:=0.2']
OPTIONS += ['-p', 'bundler.sync.depth.enabled:=true']  # off by default


@pytest.fixture(scope='module')
def node(start, tiny_model, vehicle):
    process = start('segmentation_node', ros=[*tiny_model, *OPTIONS])
    vehicle.place_sensors()
    vehicle.wait_for_perception()
    vehicle.drive_until(lambda: vehicle.heard['semantic/image'], 'the first mask', ALL)
    return process


def drive_to_use(vehicle, sensors):
    """Publish rounds until a mask is made of exactly these sensors; return its status."""
    found = []

    def done():
        for message in vehicle.heard['semantic/status'][-3:]:
            status = from_ros.status_from_message(message)
            if set(status.used) == set(sensors):
                found.append(status)
        return bool(found)

    def why():
        told = [from_ros.status_from_message(m) for m in vehicle.heard['semantic/status'][-1:]]
        return f'a mask from {sensors}, last: {[each.message for each in told]}'

    vehicle.heard['semantic/status'].clear()
    vehicle.drive_until(done, why, sensors)
    # The status is the last that is published of a frame, but topics overtake each other.
    stamp_ns = found[-1].stamp_ns
    vehicle.graph.until(lambda: vehicle.at('semantic/image', stamp_ns), 'the mask of a status')
    return found[-1]


def test_a_mask_has_the_header_and_size_of_its_camera_image(node, vehicle):
    status = drive_to_use(vehicle, ALL)
    stamp_ns = status.stamp_ns
    assert status.dropped is None
    assert set(status.gate) == set(ALL)
    assert sum(status.gate.values()) == pytest.approx(1.0, abs=1e-3)
    assert {'health', 'align', 'network', 'mask', 'publish', 'queue', 'wait', 'total'} <= set(
        status.latency_ms
    )
    for topic in ('semantic/image', 'semantic/confidence'):
        message = vehicle.at(topic, stamp_ns)
        pixels, encoding = from_ros.image_to_array(message)
        assert (pixels.shape, encoding) == (vehicle.size, 'mono8')
        assert message.header.frame_id == 'camera_optical'
    assert np.all(from_ros.image_to_array(vehicle.at('semantic/image', stamp_ns))[0] < 19)


def test_a_depth_sensor_takes_part_where_it_is_enabled_and_there(node, vehicle):
    status = drive_to_use(vehicle, (*ALL, 'depth'))
    assert status.missing == {}
    assert set(drive_to_use(vehicle, ALL).missing) == {'depth'}


def test_the_depth_image_shows_the_sweep_of_the_bundle(node, vehicle):
    stamp_ns = drive_to_use(vehicle, ALL).stamp_ns
    image = vehicle.at('depth_registered/image_rect', stamp_ns)
    depth, encoding = from_ros.image_to_array(image)
    assert encoding == '32FC1'
    found = depth[np.isfinite(depth)]
    assert found.size > 50
    assert found.min() > 2.9
    assert found.max() < 40.16  # the lidar is 0.15 m before the camera
    info = vehicle.at('depth_registered/camera_info', stamp_ns)
    np.testing.assert_array_equal(np.reshape(info.k, (3, 3)), vehicle.camera('camera').K)
    assert info.header.frame_id == 'camera_optical'


def test_the_mask_has_its_geometry_beside_it(node, vehicle):
    vehicle.listen('semantic/camera_info', 'sensor_msgs/msg/CameraInfo')
    heard = vehicle.heard['semantic/camera_info']
    vehicle.drive_until(lambda: heard, 'the geometry of a mask', ALL)
    stamp_ns = from_ros.stamp_of(heard[0])
    vehicle.graph.until(lambda: vehicle.at('semantic/image', stamp_ns), 'its mask')
    mask = vehicle.at('semantic/image', stamp_ns)
    assert (heard[0].width, heard[0].height) == (mask.width, mask.height)
    assert heard[0].header.frame_id == mask.header.frame_id
    np.testing.assert_array_equal(np.reshape(heard[0].k, (3, 3)), vehicle.camera('camera').K)


def test_label_info_is_latched_and_names_the_classes(node, vehicle):
    # Its one message was sent before any of our rounds; who comes later hears it all the same.
    vehicle.listen('semantic/label_info', 'vision_msgs/msg/LabelInfo')
    vehicle.graph.until(lambda: vehicle.heard['semantic/label_info'], 'the label info')
    told = vehicle.heard['semantic/label_info'][0].class_map
    expected = [(c.id, c.name) for c in LABEL_SPACES['cityscapes'].classes]
    assert [(each.class_id, each.class_name) for each in told] == expected


def spoil_encoding(vehicle, stamp_ns):
    message = vehicle.image('camera', stamp_ns)
    message.encoding = 'rgb7'
    return 'camera/image_rect', message, 'camera', "encoding.*'rgb7'"


def spoil_length(vehicle, stamp_ns):
    message = vehicle.image('camera', stamp_ns)
    message.data = message.data[: len(message.data) // 2]
    return 'camera/image_rect', message, 'camera', 'data'


def spoil_size(vehicle, stamp_ns):
    message = vehicle.image('thermal', stamp_ns)
    message.height = message.width = message.step = 0
    message.data = message.data[:0]
    return 'thermal/image_rect', message, 'thermal', 'height|width|empty|size'


def spoil_fields(vehicle, stamp_ns):
    message = vehicle.cloud(stamp_ns)
    message.fields = message.fields[1:]
    return 'points', message, 'lidar', "'x'"


def spoil_points(vehicle, stamp_ns):
    message = vehicle.cloud(stamp_ns, np.full((50, 3), np.nan))
    return 'points', message, 'lidar', 'no usable point'


def spoil_steps(vehicle, stamp_ns):
    message = vehicle.cloud(stamp_ns)
    message.data = message.data[:100]
    return 'points', message, 'lidar', 'PointCloud#|data'


def spoil_events(vehicle, stamp_ns):
    message = vehicle.packet(stamp_ns)
    message.encoding = 'evt9'
    return 'events', message, 'event', 'evt9'


@pytest.mark.parametrize(
    'spoil',
    [
        spoil_encoding,
        spoil_length,
        spoil_size,
        spoil_fields,
        spoil_points,
        spoil_steps,
        spoil_events,
    ],
)
def test_a_bad_message_is_counted_by_reason_and_survived(node, vehicle, spoil):
    topic, message, monitor, pattern = spoil(vehicle, vehicle.stamp_ns + 10_000_000)

    def bad():
        told = vehicle.diagnosis(monitor)
        values = told[2] if told else {}
        return sum(
            int(count)
            for reason, count in values.items()
            if reason.startswith('bad: ') and re.search(pattern, reason)
        )

    before = bad()
    vehicle.publish(topic, message)
    vehicle.graph.until(lambda: bad() == before + 1, f'{spoil.__name__} to be counted')
    drive_to_use(vehicle, ALL)
    assert node.running


def test_each_reason_is_logged_once_not_with_every_message(node, vehicle):
    for i in range(20):
        topic, message, _, _ = spoil_encoding(vehicle, vehicle.stamp_ns + i)
        vehicle.publish(topic, message)
    drive_to_use(vehicle, ALL)
    assert 1 <= node.output.count("'rgb7'") <= 4


def test_masks_go_on_in_the_camera_view_when_the_camera_stops_and_return_to_it(node, vehicle):
    drive_to_use(vehicle, ALL)
    vehicle.heard['semantic/image'].clear()
    status = drive_to_use(vehicle, ('thermal', 'lidar'))
    assert 'camera' in status.missing
    assert status.missing['camera']
    mask = vehicle.at('semantic/image', status.stamp_ns)
    assert from_ros.image_to_array(mask)[0].shape == vehicle.size
    assert mask.header.frame_id == 'camera_optical'
    drive_to_use(vehicle, ALL)
    stamps = vehicle.stamps('semantic/image')
    assert stamps == sorted(set(stamps))


def test_a_used_sensor_that_is_not_as_expected_is_told_and_logged_once(node, vehicle, monkeypatch):
    build = vehicle.image

    def image(name, stamp_ns):
        if name != 'thermal':
            return build(name, stamp_ns)
        pixels = vehicle.rng.integers(0, 256, vehicle.size).astype(np.uint8)
        return from_ros.array_to_image(vehicle.types, pixels, 'mono8', stamp_ns, 'thermal_optical')

    def told(words):
        for message in vehicle.heard['semantic/status'][-10:]:
            status = from_ros.status_from_message(message)
            if words in status.notes.get('thermal', ''):
                return int.from_bytes(message.status[0].level, 'little') == 1
        return False

    assert 'thermal' not in drive_to_use(vehicle, ALL).notes
    lidarless = ('camera', 'thermal', 'event')
    vehicle.drive_until(lambda: told('plane at 20 m'), 'thermal on a plane', lidarless)
    with monkeypatch.context() as patch:
        patch.setattr(vehicle, 'image', image)
        vehicle.drive_until(lambda: told('has 8 bits'), 'thermal of 8 bits', ALL)
        for _ in range(5):
            drive_to_use(vehicle, ALL)
    drive_to_use(vehicle, ALL)
    assert node.output.count('] [segmentation]: thermal: aligned to a plane at 20 m') == 1
    assert node.output.count('] [segmentation]: thermal: the image has 8 bits') <= 2
    assert 'thermal: the image has 8 bits' in node.output


def test_a_sensor_without_a_place_is_missing_with_the_reason(node, vehicle, monkeypatch):
    build = vehicle.cloud

    def cloud(stamp_ns):
        message = build(stamp_ns)
        message.header.frame_id = 'nowhere'
        return message

    def told():
        status = from_ros.status_from_message(vehicle.heard['semantic/status'][-1])
        return 'nowhere' in status.missing.get('lidar', '')

    with monkeypatch.context() as patch:
        patch.setattr(vehicle, 'cloud', cloud)
        vehicle.drive_until(told, 'the lidar to be missing', ALL)
    drive_to_use(vehicle, ALL)


def test_a_black_picture_is_not_used_and_told_with_its_reason(node, vehicle, monkeypatch):
    build = vehicle.image

    def image(name, stamp_ns):
        message = build(name, stamp_ns)
        if name == 'camera':
            message.data = np.zeros_like(message.data)
        return message

    def told():
        status = from_ros.status_from_message(vehicle.heard['semantic/status'][-1])
        return 'black: ' in status.missing.get('camera', '') and 'thermal' in status.used

    def counted():
        level, message, values = vehicle.diagnosis('camera')
        return level == 1 and 'unhealthy: black: ' in message and int(values['health/black']) > 0

    drive_to_use(vehicle, ALL)
    with monkeypatch.context() as patch:
        patch.setattr(vehicle, 'image', image)
        vehicle.drive_until(told, 'the camera to be missing', ALL)
        vehicle.drive_until(counted, 'the black pictures in /diagnostics', ALL)
    drive_to_use(vehicle, ALL)
    values = vehicle.diagnosis('camera')[2]
    assert int(values['health/checked']) > int(values['health/taken out']) > 0


def call(vehicle, kind, name, request):
    client = vehicle.graph.node.create_client(kind, f'/segmentation/{name}')
    try:
        vehicle.graph.until(client.service_is_ready, f'the service {name}')
        return vehicle.graph.result(client.call_async(request), f'an answer of {name}')
    finally:
        vehicle.graph.node.destroy_client(client)


def test_a_parameter_of_the_start_is_refused_at_run_time_with_the_reason(node, vehicle):
    change = Parameter('model.device', value='cuda:7').to_parameter_msg()
    answer = call(
        vehicle, SetParameters, 'set_parameters', SetParameters.Request(parameters=[change])
    )
    assert not answer.results[0].successful
    assert 'read by configure: set it while' in answer.results[0].reason
    names = DescribeParameters.Request(names=['bundler.sync.deadline_s'])
    told = call(vehicle, DescribeParameters, 'describe_parameters', names).descriptors[0]
    assert 'deadline' in told.description or 'leaves' in told.description
    assert told.description.endswith('[s]')


def set_parameters(vehicle, **values):
    """Set parameters, `__` for the dots of their names; return what was answered."""
    changes = [
        Parameter(name.replace('__', '.'), value=value).to_parameter_msg()
        for name, value in values.items()
    ]
    request = SetParameters.Request(parameters=changes)
    return call(vehicle, SetParameters, 'set_parameters', request).results


def drive_to_drop(vehicle, pattern):
    """Publish rounds until a frame is dropped for a reason."""

    def done():
        told = vehicle.heard['semantic/status'][-3:]
        reasons = [from_ros.status_from_message(message).dropped for message in told]
        return any(reason and re.search(pattern, reason) for reason in reasons)

    vehicle.heard['semantic/status'].clear()
    vehicle.drive_until(done, f'a drop because of {pattern}', ALL)


def test_a_mask_that_is_too_old_is_dropped_and_never_published(node, vehicle):
    (answer,) = set_parameters(vehicle, max_mask_age_s=1e-4)
    assert answer.successful
    drive_to_drop(vehicle, r'it is \d.* s old, more than max_mask_age_s allows \(0.0001 s\)')
    vehicle.graph.spin(0.3)
    vehicle.heard['semantic/image'].clear()
    for _ in range(3):
        vehicle.drive(ALL)
        vehicle.graph.spin(0.1)
    assert vehicle.heard['semantic/image'] == []
    (answer,) = set_parameters(vehicle, max_mask_age_s=1.0)
    assert answer.successful
    drive_to_use(vehicle, ALL)
    dropped = [key for key in vehicle.diagnosis('output')[2] if key.startswith('dropped: ')]
    assert any('max_mask_age_s allows' in key for key in dropped)


def test_routing_and_health_change_while_it_runs_and_nonsense_is_refused(node, vehicle):
    (answer,) = set_parameters(vehicle, routing__latency_budget_ms=1e-3)
    assert answer.successful
    drive_to_drop(vehicle, r'no network can run: tiny takes longer than 0\.001 ms')
    good, bad = set_parameters(vehicle, routing__latency_budget_ms=0.0, health__forget_s=-1.0)
    assert good.successful
    assert not bad.successful
    assert 'health.forget_s' in bad.reason
    drive_to_use(vehicle, ALL)
    (answer,) = set_parameters(vehicle, health__thermal__enabled=False)
    assert answer.successful
    before = vehicle.diagnosis('thermal')[2]['health/checked']
    drive_to_use(vehicle, ALL)
    vehicle.graph.spin(0.5)
    checked = vehicle.diagnosis('thermal')[2]['health/checked']
    for _ in range(3):
        drive_to_use(vehicle, ALL)
    vehicle.graph.spin(0.5)
    assert vehicle.diagnosis('thermal')[2]['health/checked'] == checked >= before
    set_parameters(vehicle, health__thermal__enabled=True)


def test_the_compressed_mask_is_the_mask(node, vehicle):
    vehicle.listen('semantic/image/compressed', 'sensor_msgs/msg/CompressedImage')
    heard = vehicle.heard['semantic/image/compressed']
    vehicle.drive_until(lambda: heard, 'a compressed mask', ALL)
    stamp_ns = from_ros.stamp_of(heard[0])
    vehicle.graph.until(lambda: vehicle.at('semantic/image', stamp_ns), 'the mask itself')
    pixels, encoding = from_ros.compressed_to_array(heard[0])
    raw, _ = from_ros.image_to_array(vehicle.at('semantic/image', stamp_ns))
    assert (encoding, heard[0].header.frame_id) == ('mono8', 'camera_optical')
    np.testing.assert_array_equal(pixels, raw)


def test_a_sensor_whose_messages_cannot_be_read_is_missing_for_that_reason(
    node, vehicle, monkeypatch
):
    build = vehicle.image

    def image(name, stamp_ns):
        message = build(name, stamp_ns)
        if name == 'thermal':
            message.encoding = 'mono12x'
        return message

    def told():
        status = from_ros.status_from_message(vehicle.heard['semantic/status'][-1])
        reason = status.missing.get('thermal', '')
        return reason.startswith("unreadable: Image.encoding 'mono12x' is not supported")

    drive_to_use(vehicle, ALL)
    with monkeypatch.context() as patch:
        patch.setattr(vehicle, 'image', image)
        vehicle.drive_until(told, 'the reason', ALL)
    drive_to_use(vehicle, ALL)


def test_motion_that_nobody_tells_is_told_once_and_no_shortcoming_of_a_frame(node, vehicle):
    assert 'lidar' not in drive_to_use(vehicle, ALL).notes
    _, _, values = vehicle.diagnosis('lidar')
    assert values['note'].startswith("sweeps are not deskewed: no frame 'odom' and no odometry")
    assert node.output.count('lidar: sweeps are not deskewed') == 1


def test_the_lifecycle_stops_and_starts_the_masks(node, vehicle):
    def change(transition):
        request = ChangeState.Request(transition=Transition(id=transition))
        assert call(vehicle, ChangeState, 'change_state', request).success

    def state():
        return call(vehicle, GetState, 'get_state', GetState.Request()).current_state.label

    assert state() == 'active'
    change(Transition.TRANSITION_DEACTIVATE)
    assert state() == 'inactive'
    vehicle.graph.spin(0.3)
    vehicle.heard['semantic/image'].clear()
    for _ in range(5):
        vehicle.drive(ALL)
        vehicle.graph.spin(0.1)
    assert vehicle.heard['semantic/image'] == []
    change(Transition.TRANSITION_CLEANUP)
    assert state() == 'unconfigured'
    change(Transition.TRANSITION_CONFIGURE)
    change(Transition.TRANSITION_ACTIVATE)
    vehicle.wait_for_perception()
    drive_to_use(vehicle, ALL)


def test_it_leaves_with_code_zero_and_no_litter(node, vehicle):
    vehicle.drive(ALL)  # while it has work to do
    files = node.shared_memory()
    assert files
    code, _ = node.end(signal.SIGTERM)
    assert code == 0, node.output
    assert 'Traceback' not in node.output
    # Files of ports are shared with whoever else is in the domain; segments are its own, or those
    # of its partners in this process.
    maps = Path('/proc/self/maps').read_text()
    own = [file for file in files if '_port' not in file and file not in maps]
    assert own
    assert [file for file in own if Path(file).exists()] == []
