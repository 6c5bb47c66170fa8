"""Depth projection and visualization as processes over DDS, and how nodes refuse to start."""

import signal
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

import cv2
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter

from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.messages import from_ros
from sam_ad_perception.core.messages.labelled_cloud import read_labelled_points
from sam_ad_perception.nodes.ros.rclpy_helpers import LATCHED_QOS

pytestmark = pytest.mark.ros

SPACE = LABEL_SPACES['cityscapes']
ROAD, CAR = 0, 13
FAST = ['-p', 'qos.reliability:=reliable', '-p', 'diagnostics_period_s:=0.2']
DEPTH = {
    'depth_registered/image_rect': 'sensor_msgs/msg/Image',
    'depth_registered/measured': 'sensor_msgs/msg/Image',
    'depth_registered/camera_info': 'sensor_msgs/msg/CameraInfo',
    '/diagnostics': 'diagnostic_msgs/msg/DiagnosticArray',
}
PICTURES = {
    'semantic/color': 'sensor_msgs/msg/Image',
    'semantic/overlay': 'sensor_msgs/msg/Image',
    'semantic/points': 'sensor_msgs/msg/PointCloud2',
}


@pytest.fixture(scope='module')
def vehicle(vehicle_type, graph):
    return vehicle_type(graph, DEPTH)


@pytest.fixture(scope='module')
def depth_node(start, vehicle):
    # points at random depths would hide each other
    process = start('depth_projection_node', ros=[*FAST, '-p', 'depth.occlusion.enabled:=false'])
    vehicle.place_sensors()
    vehicle.graph.until(lambda: vehicle.publishers['points'].get_subscription_count(), 'the node')
    vehicle.graph.until(
        lambda: vehicle.graph.node.count_publishers('/depth_registered/image_rect'), 'its output'
    )
    return process


def drive_until_heard(vehicle, topic, publish):
    """Publish again and again until something is heard; the first may come before its match."""
    import time

    vehicle.heard[topic].clear()
    end = time.monotonic() + 20
    while not vehicle.heard[topic]:
        assert time.monotonic() < end, f'nothing on {topic}'
        publish()
        vehicle.graph.spin(0.1)
    return vehicle.heard[topic][-1]


def test_depth_has_the_stamp_of_the_sweep_and_the_pixels_of_opencv(depth_node, vehicle):
    rng = np.random.default_rng(3)
    points = rng.uniform((2, -6, -4), (30, 6, 4), (500, 3)).astype(np.float32)

    def publish():
        vehicle.stamp_ns += 100_000_000
        vehicle.tell_geometry(vehicle.stamp_ns, ('camera',))
        vehicle.publish('points', vehicle.cloud(vehicle.stamp_ns, points))

    message = drive_until_heard(vehicle, 'depth_registered/image_rect', publish)
    depth, encoding = from_ros.image_to_array(message)
    assert (encoding, depth.shape) == ('32FC1', vehicle.size)
    assert message.header.frame_id == 'camera_optical'
    assert from_ros.stamp_of(message) <= vehicle.stamp_ns
    # The lidar sits 15 cm ahead of the camera; it looks along x, the camera along z.
    in_camera = np.stack([-points[:, 1], -points[:, 2], points[:, 0] + 0.15], axis=1)
    K = vehicle.camera('camera').K
    uv = cv2.projectPoints(in_camera.astype(np.float64), np.zeros(3), np.zeros(3), K, None)[0]
    expected = np.full(vehicle.size, np.inf)
    for (u, v), z in zip(np.rint(uv[:, 0]).astype(int), in_camera[:, 2], strict=True):
        if 0 <= u < vehicle.size[1] and 0 <= v < vehicle.size[0]:
            expected[v, u] = min(expected[v, u], z)
    expected[np.isinf(expected)] = np.nan
    same = np.isclose(depth, expected, atol=1e-3, equal_nan=True)
    assert same.mean() > 0.999
    assert np.isfinite(depth).sum() > 100
    heard = vehicle.heard['depth_registered/measured']
    same = lambda: [m for m in heard if m.header.stamp == message.header.stamp]  # noqa: E731
    vehicle.graph.until(same, 'what was measured')
    pixels, encoding = from_ros.image_to_array(same()[0])
    assert encoding == 'mono8'
    np.testing.assert_array_equal(pixels, np.where(np.isfinite(depth), 255, 0))
    assert 'lidar: no field of time' in depth_node.output
    assert "not deskewed: no transform from 'lidar' to 'odom'" in depth_node.output


def test_a_sweep_is_shown_as_of_the_exposure_that_camera_info_tells(depth_node, vehicle):
    """A wall 20 m ahead, 50 ms before the exposure, at 20 m/s: a metre nearer."""
    tf = vehicle.graph.node.create_publisher(vehicle.types('tf2_msgs/msg/TFMessage'), '/tf', 10)
    y, z = np.meshgrid(np.linspace(-5, 5, 20), np.linspace(-3, 3, 20))
    wall = np.stack([np.full(400, 20.0), y.ravel(), z.ravel()], axis=1).astype(np.float32)
    exposures = set()

    def shown():
        vehicle.stamp_ns += 100_000_000
        links = []
        for age in range(-100, 80, 10):
            T = np.eye(4)
            T[0, 3] = 20e-3 * age
            links.append(('odom', 'base_link', vehicle.stamp_ns + age * 1_000_000, T))
        tf.publish(from_ros.transforms_to_message(vehicle.types, links))
        exposures.add(vehicle.stamp_ns + 50_000_000)
        vehicle.tell_geometry(vehicle.stamp_ns + 50_000_000, ('camera',))
        vehicle.graph.spin(0.1)
        vehicle.publish('points', vehicle.cloud(vehicle.stamp_ns, wall))
        vehicle.graph.spin(0.1)
        for message in vehicle.heard['depth_registered/image_rect'][-3:]:
            depth, _ = from_ros.image_to_array(message)
            middle = np.nanmedian(depth) if np.isfinite(depth).any() else 0.0
            if from_ros.stamp_of(message) in exposures and abs(middle - 19.15) < 0.01:
                return True
        return False

    vehicle.graph.until(shown, 'a depth image as of the exposure')


def test_a_sweep_that_cannot_be_placed_is_counted(depth_node, vehicle):
    vehicle.drive(())
    message = vehicle.cloud(vehicle.stamp_ns)
    message.header.frame_id = 'nowhere'

    def counted():
        told = vehicle.diagnosis('lidar')
        return told is not None and any("'nowhere'" in key for key in told[2])

    drive = lambda: (vehicle.publish('points', message), vehicle.graph.spin(0.1))  # noqa: E731
    vehicle.graph.until(lambda: drive() and counted(), 'the sweep to be counted')
    assert depth_node.running


def test_depth_projection_leaves_on_ctrl_c(depth_node):
    code, _ = depth_node.end(signal.SIGINT)
    assert code == 0, depth_node.output
    assert 'Traceback' not in depth_node.output


class Mask:
    """What the segmentation node would publish: road left, car right."""

    def __init__(self, vehicle):
        self.vehicle = vehicle
        node = vehicle.graph.node
        image, info = 'sensor_msgs/msg/Image', 'vision_msgs/msg/LabelInfo'
        self.mask = node.create_publisher(vehicle.types(image), 'semantic/image', 10)
        self.info = node.create_publisher(vehicle.types(info), 'semantic/label_info', LATCHED_QOS)
        self.info.publish(from_ros.label_info_to_message(vehicle.types, SPACE, 0, ''))
        self.pixels = np.full(vehicle.size, ROAD, np.uint8)
        self.pixels[:, vehicle.size[1] // 2 :] = CAR
        self.pixels[0] = 255
        self.image = None

    def publish(self, *, points=None):
        vehicle = self.vehicle
        vehicle.stamp_ns += 100_000_000
        stamp_ns = vehicle.stamp_ns
        vehicle.tell_geometry(stamp_ns, ('camera',))
        if points is not None:
            vehicle.publish('points', vehicle.cloud(stamp_ns, points))
        self.image = vehicle.image('camera', stamp_ns)
        vehicle.publish('camera/image_rect', self.image)
        vehicle.graph.spin(0.05)
        message = from_ros.array_to_image(
            vehicle.types, self.pixels, 'mono8', stamp_ns, 'camera_optical'
        )
        self.mask.publish(message)


@pytest.fixture(scope='module')
def mask(vehicle):
    return Mask(vehicle)


@pytest.fixture(scope='module')
def visualization(start, vehicle, mask):
    process = start('visualization_node', ros=FAST)
    node = vehicle.graph.node
    vehicle.graph.until(lambda: node.count_publishers('/semantic/color'), 'visualization')
    return process


def test_nothing_is_subscribed_before_somebody_listens(visualization, vehicle, mask):
    vehicle.graph.until(lambda: vehicle.diagnosis('label_info') is not None, 'its diagnostics')
    assert mask.mask.get_subscription_count() == 0
    vehicle.listen('semantic/color', PICTURES['semantic/color'])
    vehicle.graph.until(lambda: mask.mask.get_subscription_count() == 1, 'it to want the mask')
    image = vehicle.publishers['camera/image_rect']
    assert image.get_subscription_count() == 0


def test_colour_is_the_palette(visualization, vehicle, mask):
    message = drive_until_heard(vehicle, 'semantic/color', mask.publish)
    color, encoding = from_ros.image_to_array(message)
    assert encoding == 'rgb8'
    np.testing.assert_array_equal(color, SPACE.palette[mask.pixels])
    assert message.header.frame_id == 'camera_optical'


def test_the_overlay_blends_and_its_alpha_changes_at_run_time(visualization, vehicle, mask):
    vehicle.listen('semantic/overlay', PICTURES['semantic/overlay'])
    image = vehicle.publishers['camera/image_rect']
    vehicle.graph.until(image.get_subscription_count, 'it to want the image')

    def overlay():
        message = drive_until_heard(vehicle, 'semantic/overlay', mask.publish)
        blended = from_ros.image_to_array(message)[0].astype(float)
        stamp_ns = from_ros.stamp_of(message)
        assert stamp_ns == from_ros.stamp_of(mask.image)
        return blended, from_ros.image_to_array(mask.image)[0].astype(float)

    colors = SPACE.palette[mask.pixels].astype(float)
    client = vehicle.graph.node.create_client(SetParameters, '/visualization/set_parameters')
    vehicle.graph.until(client.service_is_ready, 'its parameter service')
    for alpha in (0.5, 1.0, 0.25):
        change = Parameter('overlay.alpha', value=alpha).to_parameter_msg()
        request = SetParameters.Request(parameters=[change])
        answer = vehicle.graph.result(client.call_async(request), 'the change of alpha')
        assert answer.results[0].successful
        blended, image = overlay()
        expected = (1 - alpha) * image + alpha * colors
        np.testing.assert_allclose(blended[1:], expected[1:], atol=1.0)
        np.testing.assert_array_equal(blended[0], image[0])  # unlabeled: the image alone
    wrong = Parameter('overlay.alpha', value=1.5).to_parameter_msg()
    answer = vehicle.graph.result(
        client.call_async(SetParameters.Request(parameters=[wrong])), 'the refusal'
    )
    assert not answer.results[0].successful
    assert 'overlay.alpha' in answer.results[0].reason


def test_points_are_painted_but_not_through_what_is_nearer(visualization, vehicle, mask):
    vehicle.listen('semantic/points', PICTURES['semantic/points'])
    vehicle.place_sensors()
    points = vehicle.publishers['points']
    vehicle.graph.until(points.get_subscription_count, 'it to want the points')
    cloud = np.array(
        [
            [9.85, 2.0, 0.0],  # left of the camera: road
            [9.85, -2.0, 0.0],  # right: car
            [29.85, -6.0, 0.0],  # on the same ray, behind the car
            [9.85, 30.0, 0.0],  # outside the view
            [-5.0, 0.0, 0.0],  # behind the camera
        ]
    )
    message = drive_until_heard(vehicle, 'semantic/points', lambda: mask.publish(points=cloud))
    assert message.header.frame_id == 'lidar'
    points, labels = read_labelled_points(message)
    np.testing.assert_allclose(points[:, 0], cloud[:, 0])
    assert labels.tolist() == [ROAD, CAR, 255, 255, 255]
    red, green, blue = SPACE.palette[CAR].tolist()
    (at,) = (f.offset for f in message.fields if f.name == 'rgb')
    rgb = bytes(message.data)[message.point_step + at :][:4]
    assert int.from_bytes(rgb, 'little') == red << 16 | green << 8 | blue
    vehicle.heard['/diagnostics'].clear()
    vehicle.graph.until(lambda: vehicle.diagnosis('camera_info'), 'its diagnostics')
    assert vehicle.diagnosis('mask_info') is None  # none came, and none has to


def test_points_follow_the_geometry_that_comes_with_the_mask(
    visualization, vehicle, mask, monkeypatch
):
    """P shows half a picture further right than K and D, by which the mask was made."""
    raw = replace(vehicle.camera('camera'), D=np.array([-0.01, 0, 0, 0, 0]))

    def both(name, stamp_ns):
        info = from_ros.camera_to_message(vehicle.types, raw, stamp_ns)
        info.p[2] += vehicle.size[1] / 2
        return info

    monkeypatch.setattr(vehicle, 'geometry', both)
    vehicle.place_sensors()
    if 'semantic/points' not in vehicle.heard:
        vehicle.listen('semantic/points', PICTURES['semantic/points'])
    kind = vehicle.types('sensor_msgs/msg/CameraInfo')
    info = vehicle.graph.node.create_publisher(kind, 'semantic/camera_info', 10)
    vehicle.graph.until(info.get_subscription_count, 'it to want the geometry of masks')
    cloud = np.array([[9.85, 2.0, 0.0], [9.85, -2.0, 0.0], [9.85, 3.0, 0.0]])
    seen = []

    def labels():
        message = drive_until_heard(vehicle, 'semantic/points', lambda: mask.publish(points=cloud))
        seen.append(read_labelled_points(message)[1].tolist())
        return seen[-1]

    vehicle.graph.until(lambda: labels()[0] == CAR, 'points by P')
    info.publish(from_ros.camera_to_message(vehicle.types, raw, vehicle.stamp_ns))
    vehicle.graph.until(lambda: labels() == [ROAD, CAR, ROAD], 'points by K and D')
    vehicle.graph.until(lambda: vehicle.diagnosis('mask_info'), 'word of that geometry')
    vehicle.graph.node.destroy_publisher(info)


def test_visualization_leaves_on_sigterm(visualization):
    code, _ = visualization.end(signal.SIGTERM)
    assert code == 0, visualization.output
    assert 'Traceback' not in visualization.output


@pytest.mark.parametrize(
    ('name', 'arguments', 'message'),
    [
        (
            'visualization_node',
            ['-p', 'overlay.alhpa:=0.5'],
            "unknown parameter 'overlay.alhpa', did you mean 'overlay.alpha'?",
        ),
        ('segmentation_node', ['-p', 'bundler.sync.deadline_s:=1'], 'write 1.0'),
        ('depth_projection_node', ['-p', 'calibration:=/no/such/file'], '/no/such/file'),
        ('visualization_node', ['-p', 'label_space:=martian'], "'label_space' must be auto or"),
    ],
)
def test_a_wrong_parameter_ends_the_start_with_one_sentence(start, name, arguments, message):
    process = start(name, ros=arguments)
    code = process.process.wait(30)
    assert code == 1
    lines = [line for line in process.output.splitlines() if line.strip()]
    assert len(lines) == 1, process.output
    assert message in lines[0]


def test_a_missing_checkpoint_is_told_and_survived(start, vehicle, tiny_model, tmp_path):
    process = start(
        'segmentation_node', ros=[*tiny_model, *FAST, '-p', f'model.checkpoint_dir:={tmp_path}']
    )

    def told():
        found = vehicle.diagnosis('output')
        return found is not None and found[0] == 2 and 'tiny.safetensors' in found[1]

    vehicle.graph.until(told, 'the reason on /diagnostics', timeout=60)
    assert process.running
    code, _ = process.end(signal.SIGINT)
    assert code == 0
    assert process.output.count('cannot configure') == 1
