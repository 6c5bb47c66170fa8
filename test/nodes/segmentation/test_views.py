"""Several cameras in one segmentation node over DDS: each has its own masks and its own faults."""

import re
import time

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from sam_ad_perception.core.messages import from_ros
from sam_ad_perception.core.sensors import CameraModel
from sam_ad_perception.nodes.ros.rclpy_helpers import LATCHED_QOS, message_type
from test.pictures import camera_picture

pytestmark = pytest.mark.ros

VIEWS = ('front', 'left', 'rear')
SIZES = {'front': (48, 64), 'left': (40, 56), 'rear': (48, 64)}
IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'


class Rig:
    """Three cameras, the left one with JPEGs, and a lidar that all share; and their listener."""

    def __init__(self, graph, sensors):
        self.graph, self.sensors = graph, sensors
        self.rng = np.random.default_rng(1)
        self.stamp_ns = time.time_ns()
        self.sent = {view: set() for view in VIEWS}
        node = graph.node

        def publisher(kind, topic, qos=100):
            return node.create_publisher(message_type(kind), topic, qos)

        self.images = {
            view: publisher(COMPRESSED, 'left/camera/image_rect/compressed')
            if view == 'left'
            else publisher(IMAGE, f'{view}/camera/image_rect')
            for view in VIEWS
        }
        self.infos = {
            view: publisher('sensor_msgs/msg/CameraInfo', f'{view}/camera/camera_info')
            for view in VIEWS
        }
        self.points = publisher('sensor_msgs/msg/PointCloud2', 'points')
        self.places = publisher('tf2_msgs/msg/TFMessage', '/tf_static', LATCHED_QOS)
        self.heard = {}
        for view in VIEWS:
            self.listen(f'{view}/semantic/image', IMAGE)
            self.listen(f'{view}/semantic/status', 'diagnostic_msgs/msg/DiagnosticArray')
        self.listen('/diagnostics', 'diagnostic_msgs/msg/DiagnosticArray')

    def listen(self, topic, kind):
        self.heard[topic] = []
        self.graph.node.create_subscription(
            message_type(kind), topic, self.heard[topic].append, 100
        )

    def camera(self, view):
        height, width = SIZES[view]
        K = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]])
        return CameraModel(width, height, K, frame_id=f'{view}_optical')

    def place(self):
        links = []
        for i, view in enumerate(VIEWS):
            T = np.eye(4)
            T[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
            T[0, 3] = 0.1 * i
            links.append(('base_link', f'{view}_optical', 0, T))
        links.append(('base_link', 'lidar', 0, np.eye(4)))
        self.places.publish(from_ros.transforms_to_message(message_type, links))

    def image(self, view, stamp_ns):
        pixels = camera_picture(self.rng, SIZES[view])
        frame = f'{view}_optical'
        if view == 'left':
            return from_ros.array_to_compressed(
                message_type, pixels, 'rgb8', stamp_ns, frame, compression='jpeg'
            )
        return from_ros.array_to_image(message_type, pixels, 'rgb8', stamp_ns, frame)

    def drive(self, views=VIEWS, spoil=None):
        """One round; the cameras expose a millisecond after each other."""
        self.stamp_ns = max(time.time_ns(), self.stamp_ns + 50_000_000)
        self.points.publish(self.sensors.cloud(self.stamp_ns))
        stamps = {}
        for i, view in enumerate(VIEWS):
            stamps[view] = self.stamp_ns + i * 1_000_000
            self.sent[view].add(stamps[view])
            info = from_ros.camera_to_message(message_type, self.camera(view), stamps[view])
            self.infos[view].publish(info)
            if view in views:
                message = self.image(view, stamps[view])
                if spoil is not None and view == 'left':
                    spoil(message)
                self.images[view].publish(message)
        return stamps

    def drive_until(self, done, what, **options):
        end = time.monotonic() + 30
        while not done():
            if time.monotonic() > end:
                pytest.fail(f'drove 30 s for {what}')
            self.drive(**options)
            self.graph.spin(0.1)

    def masks(self, view):
        return self.heard[f'{view}/semantic/image']

    def last_status(self, view):
        heard = self.heard[f'{view}/semantic/status']
        return from_ros.status_from_message(heard[-1]) if heard else None

    def all_see(self):
        """Whether the last frame of each view was made of its camera and of the lidar."""
        told = [self.last_status(view) for view in VIEWS]
        return all(each and set(each.used) == {'camera', 'lidar'} for each in told)

    def diagnosis(self, name):
        for array in reversed(self.heard['/diagnostics']):
            for entry in array.status:
                if entry.name.endswith(f': {name}'):
                    values = {pair.key: pair.value for pair in entry.values}
                    return int.from_bytes(entry.level, 'little'), entry.message, values
        return None


@pytest.fixture(scope='module')
def rig(graph, vehicle_type):
    return Rig(graph, vehicle_type.__base__(message_type))


@pytest.fixture(scope='module')
def node(start, tiny_model, rig):
    shared = [part for view in VIEWS for part in ('-r', f'{view}/points:=points')]
    options = ['-p', f'views:=[{",".join(VIEWS)}]', '-p', 'qos.reliability:=reliable']
    options += ['-p', 'selections.ground.classes:=[road, sidewalk]']
    options += ['-p', 'diagnostics_period_s:=0.2', '-p', 'health.recovery_frames:=1']
    process = start('segmentation_node', ros=[*tiny_model, *options, *shared])
    rig.place()
    ready = [*rig.images.values(), *rig.infos.values(), rig.points]
    rig.graph.until(
        lambda: all(each.get_subscription_count() for each in ready), 'the node', timeout=90.0
    )
    rig.drive_until(rig.all_see, 'masks of all views')
    return process


def test_every_view_has_its_own_selections(node, rig):
    for view in VIEWS:
        rig.listen(f'{view}/semantic/ground/mask', IMAGE)

    def masks(view, topic):
        return {from_ros.stamp_of(m): m for m in rig.heard[f'{view}/semantic/{topic}']}

    def pairs(view):
        ground, whole = masks(view, 'ground/mask'), masks(view, 'image')
        return [(ground[stamp], whole[stamp]) for stamp in ground.keys() & whole.keys()]

    rig.drive_until(lambda: all(pairs(view) for view in VIEWS), 'selections of all views')
    for view in VIEWS:
        for ground, whole in pairs(view):
            assert ground.header == whole.header
            assert whole.header.frame_id == f'{view}_optical'
            pixels = from_ros.image_to_array(whole)[0]
            expected = np.where(np.isin(pixels, (0, 1)), 255, 0)
            np.testing.assert_array_equal(from_ros.image_to_array(ground)[0], expected)


def test_every_view_has_masks_of_its_own_stamp_frame_and_size(node, rig):
    begun = {view: len(rig.masks(view)) for view in VIEWS}
    rig.drive_until(
        lambda: all(len(rig.masks(view)) >= begun[view] + 3 for view in VIEWS), 'three masks each'
    )
    for view in VIEWS:
        for mask in rig.masks(view):
            assert from_ros.stamp_of(mask) in rig.sent[view]
            assert mask.header.frame_id == f'{view}_optical'
            assert from_ros.image_to_array(mask)[0].shape == SIZES[view]
    level, message, values = rig.diagnosis('network')
    assert (level, message) == (0, 'tiny on cpu')
    assert 1 <= int(values['batch']) <= len(VIEWS)


def test_a_camera_that_dies_leaves_the_others_alone(node, rig):
    rig.drive_until(rig.all_see, 'masks of all views')
    others = [view for view in VIEWS if view != 'front']

    def lidar_leads():
        told = rig.last_status('front')
        return told is not None and 'camera' in told.missing and told.used == ('lidar',)

    rig.drive_until(lidar_leads, 'the front view to go on with the lidar', views=others)
    begun = {view: len(rig.masks(view)) for view in others}
    for _ in range(10):
        rig.drive(views=others)
        rig.graph.spin(0.1)
    for view in others:
        fresh = rig.masks(view)[begun[view] :]
        stamps = [from_ros.stamp_of(mask) for mask in fresh]
        assert len(fresh) >= 5
        assert stamps == sorted(set(stamps))
        assert 'camera' in rig.last_status(view).used
    level, message, _ = rig.diagnosis('front/camera')
    assert (level, 'Timeout' in message) == (1, True)
    assert rig.diagnosis('rear/camera')[0] == 0
    rig.drive_until(rig.all_see, 'the front camera to be back')


def test_a_picture_that_does_not_decode_is_told_and_counted_in_its_view_alone(node, rig):
    def spoil(message):
        message.data = b'no picture'

    def told():
        status = rig.last_status('left')
        counted = rig.diagnosis('left/camera')[2]
        return (
            status.used == ('lidar',)
            and status.missing['camera'].startswith('unreadable: CompressedImage.data')
            and any('does not decode' in key for key in counted)
        )

    rig.drive_until(rig.all_see, 'masks of all views')
    rig.drive_until(told, 'word of what does not decode', spoil=spoil)
    assert 'camera' in rig.last_status('front').used
    assert not any('decode' in key for key in rig.diagnosis('front/camera')[2])
    rig.drive_until(rig.all_see, 'pictures that decode')


def test_diagnostics_tell_of_each_view(node, rig):
    def all_told():
        told = [rig.diagnosis(f'{view}/output')[2].get('used') for view in VIEWS]
        return told == ['camera,lidar'] * len(VIEWS)

    rig.drive_until(all_told, 'word of masks of all views')
    for view in VIEWS:
        level, message, values = rig.diagnosis(f'{view}/output')
        assert level == 1
        assert re.match(r'tiny on camera \+ lidar; thermal missing: .*; event missing: ', message)
        assert values['expert'] == 'tiny'
        assert 'nobody has measured' in values['reason']
        for stage in ('read', 'network', 'queue', 'total'):
            low, high = (float(values[f'latency_ms/{stage}/p{p}']) for p in (50, 99))
            assert 0 <= low <= high
        assert 'no odometry' in rig.diagnosis(f'{view}/lidar')[2]['note']
