"""Geometry and transforms of recordings: paired by stamp, refused one by one."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from sam_ad_perception.bags.bundles import BagFeed
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.topics import guess_topics
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.core.lidar.projection import project_sweep
from sam_ad_perception.core.messages import from_ros as cv
from sam_ad_perception.core.sensors import CameraModel, Modality

MS, T0 = 1_000_000, 1_700_000_000_000_000_000
STEP = 100 * MS
CAMERA, THERMAL, LIDAR = Modality.CAMERA, Modality.THERMAL, Modality.LIDAR
OPTICAL = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
ABOVE = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1.7], [0, 0, 0, 1]])
LINKS = (('base_link', 'cam_optical', OPTICAL), ('base_link', 'lidar', ABOVE))


def camera(focal=200.0, size=(50, 80), frame='cam_optical'):
    height, width = size
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return CameraModel(width, height, K, frame_id=frame)


class Recording:
    """Three frames of a camera and a lidar; each part can be replaced."""

    def __init__(self, path):
        self.path, self.frames, self.size, self.image_frame = path, 3, (50, 80), 'cam_optical'
        self.info = lambda i, types: cv.camera_to_message(types, camera(), T0 + i * STEP)
        self.points = [np.array([[10.0, 0, 0], [10, 1, 0]], np.float32)] * 3
        self.lidar_frame = 'lidar'
        self.static = [('/tf_static', T0, LINKS)]
        self.camera_topic = '/cam/image_raw'

    def write(self):
        kinds = {
            self.camera_topic: 'Image',
            '/cam/camera_info': 'CameraInfo',
            '/points': 'PointCloud2',
        }
        with BagWriter(self.path) as writer:
            types = writer.types
            for topic, kind in kinds.items():
                writer.add_topic(topic, f'sensor_msgs/msg/{kind}')
            for topic in dict.fromkeys(topic for topic, _, _ in self.static):
                writer.add_topic(topic, 'tf2_msgs/msg/TFMessage', latched=True)
            for topic, stamp, links in self.static:
                stamped = [(parent, child, stamp, T) for parent, child, T in links]
                writer.write(topic, self.spoil(cv.transforms_to_message(types, stamped)), stamp)
            for i in range(self.frames):
                stamp = T0 + i * STEP
                cloud = np.zeros(len(self.points[i]), [(n, self.points[i].dtype) for n in 'xyz'])
                for k, name in enumerate('xyz'):
                    cloud[name] = self.points[i][:, k]
                writer.write(
                    '/points',
                    cv.cloud_to_message(types, cloud, stamp, self.lidar_frame),
                    stamp + MS,
                )
                if (info := self.info(i, types)) is not None:
                    writer.write('/cam/camera_info', info, stamp + 2 * MS)
                pixels = np.full((*self.size, 3), 40 * i, np.uint8)
                image = cv.array_to_image(types, pixels, 'rgb8', stamp, self.image_frame)
                writer.write(self.camera_topic, image, stamp + 3 * MS)
        return self

    def spoil(self, message):
        return message

    def read(self):
        with BagReader(self.path) as reader:
            feed = BagFeed(reader, guess_topics(reader.topics))
            bundles = [bundle for _, due in feed.read() for bundle in due]
        return SimpleNamespace(bundles=bundles, feed=feed)


@pytest.fixture
def recording(tmp_path):
    return Recording(tmp_path / 'bag')


def edit(change):
    """A camera_info as `change` leaves it."""

    def info(i, types):
        message = cv.camera_to_message(types, camera(), T0 + i * STEP)
        change(message)
        return message

    return info


def test_info_without_frame_takes_that_of_the_image(recording):
    recording.info = edit(lambda m: setattr(m.header, 'frame_id', ''))
    for bundle in recording.write().read().bundles:
        assert bundle.camera.frame_id == 'cam_optical'
        assert LIDAR in bundle.frames


def test_info_of_another_frame_than_its_image_is_named(recording):
    recording.image_frame = 'cam_link'
    for bundle in recording.write().read().bundles:
        assert bundle.notes[CAMERA] == (
            "its images are in frame 'cam_link', its camera_info in 'cam_optical'"
        )


def test_info_of_a_frame_that_nobody_places_gives_way_to_that_of_the_image(recording):
    recording.info = edit(lambda m: setattr(m.header, 'frame_id', 'camera_1'))
    for bundle in recording.write().read().bundles:
        assert LIDAR in bundle.frames
        assert bundle.camera.frame_id == 'cam_optical'
        assert bundle.notes[CAMERA] == (
            "its camera_info names the frame 'camera_1', which nobody places: 'cam_optical' of "
            'its image is used'
        )


@pytest.mark.parametrize('slash', ['/', '//'])
def test_leading_slashes_are_dropped(recording, slash):
    recording.info = edit(lambda m: setattr(m.header, 'frame_id', f'{slash}cam_optical'))
    recording.lidar_frame = f'{slash}lidar'
    recording.static = [
        ('/tf_static', T0, [(f'{slash}{a}', f'{slash}{b}', T) for a, b, T in LINKS])
    ]
    for bundle in recording.write().read().bundles:
        assert LIDAR in bundle.frames
        assert CAMERA not in bundle.notes


def unset(message):
    message.k = np.zeros(9)


def many_of_plumb_bob(message):
    message.d = np.full(8, 0.01)


def of_kind(kind):
    def change(message):
        message.distortion_model, message.d = kind, np.full(5, 0.01)

    return change


def not_invertible(message):
    message.d = np.array([-500.0, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ('change', 'told'),
    [
        (unset, 'CameraInfo.k is all zeros'),
        (many_of_plumb_bob, 'at most 5 non-zero values'),
        (of_kind('thin_prism'), "got 'thin_prism'"),
        (of_kind('inverse_brown_conrady'), "got 'inverse_brown_conrady'"),
        (not_invertible, 'can be inverted in'),
        (lambda m: setattr(m, 'k', np.full(9, np.nan)), 'must be [fx 0 cx; 0 fy cy; 0 0 1]'),
    ],
)
def test_camera_of_an_unknown_lens_is_used_alone(recording, change, told):
    recording.info = edit(change)
    bundles = recording.write().read().bundles
    assert len(bundles) == 3
    for bundle in bundles:
        assert set(bundle.frames) == {CAMERA}
        assert bundle.camera.size == (50, 80)
        assert bundle.missing[LIDAR].startswith('the lens of the camera is unknown: ')
        assert told in bundle.missing[LIDAR]


def test_camera_without_any_info_is_used_alone(recording):
    recording.info = lambda i, types: None
    bundles = recording.write().read().bundles
    assert [set(bundle.frames) for bundle in bundles] == 3 * [{CAMERA}]
    assert bundles[0].camera.frame_id == 'cam_optical'


@pytest.mark.parametrize('count', [12, 14])
def test_twelve_and_fourteen_coefficients_are_used(recording, count):
    def info(message):
        message.distortion_model = 'rational_polynomial'
        message.d = np.array([0.1, 0.01, 0, 0, 0, 0.1, 0.01, 0, *[0.001] * 4, 0.01, 0.01])[:count]

    recording.info = edit(info)
    for bundle in recording.write().read().bundles:
        assert LIDAR in bundle.frames
        assert bundle.camera.D.size == count


def test_zoom_is_paired_by_stamp(recording):
    recording.info = lambda i, types: cv.camera_to_message(
        types, camera(200 + 10 * i), T0 + i * STEP
    )
    bundles = recording.write().read().bundles
    assert [bundle.camera.K[0, 0] for bundle in bundles] == [200, 210, 220]
    assert all(CAMERA not in bundle.notes for bundle in bundles)


def test_views_of_too_many_pixels_are_refused_before_memory_is_taken(recording):
    def huge(message):
        message.width = message.height = 100_000

    recording.info = edit(huge)
    read = recording.write().read()
    refused = read.feed.unreadable['/cam/camera_info']
    assert refused.count == 3
    assert '100000x100000 pixels, more than max_megapixels (64) allows' in refused.reason
    assert all(set(bundle.frames) == {CAMERA} for bundle in read.bundles)


def test_image_that_was_resized_scales_the_intrinsics(recording):
    recording.info = lambda i, types: cv.camera_to_message(
        types, camera(400, (100, 160)), T0 + i * STEP
    )
    for bundle in recording.write().read().bundles:
        assert bundle.camera.size == (50, 80)
        assert bundle.camera.K[0, 0] == 200
        assert bundle.notes[CAMERA].endswith('K is scaled')
        assert LIDAR in bundle.frames


def test_bad_link_of_a_message_is_left_out_alone_and_told(recording):
    def spoil(message):
        message.transforms[2].transform.rotation.w = 0.0
        return message

    recording.static = [('/tf_static', T0, [*LINKS, ('base_link', 'gps', np.eye(4))])]
    recording.spoil = spoil
    read = recording.write().read()
    assert all(LIDAR in bundle.frames for bundle in read.bundles)
    refused = read.feed.unreadable['/tf_static']
    assert refused.count == 1
    assert "'base_link' -> 'gps' is left out" in refused.reason


def test_fixed_transforms_that_change_hold_from_their_time_on(recording):
    moved = ABOVE.copy()
    moved[0, 3] = 2.0
    recording.static.append(('/tf_static', T0 + 2 * STEP, [('base_link', 'lidar', moved)]))
    ahead = [bundle.T_camera[LIDAR][2, 3] for bundle in recording.write().read().bundles]
    np.testing.assert_allclose(ahead, [0, 0, 2], atol=1e-12)


def test_link_that_moves_and_is_fixed_then_is_where_the_last_word_puts_it(recording):
    """The newest counts, as in tf2, although fixed transforms are read ahead of a recording."""
    moved = ABOVE.copy()
    moved[0, 3] = 2.0
    recording.static = [
        ('/tf', T0 - STEP, [('base_link', 'lidar', moved)]),
        ('/tf_static', T0 + STEP, LINKS),
    ]
    ahead = [bundle.T_camera[LIDAR][2, 3] for bundle in recording.write().read().bundles]
    np.testing.assert_allclose(ahead, [2, 0, 0], atol=1e-12)


@pytest.mark.parametrize('order', [('/robot1', '/robot2'), ('/robot2', '/robot1')])
def test_trees_of_two_robots_that_no_name_tells_apart_are_named(recording, order):
    other = ABOVE.copy()
    other[0, 3] = 1.0
    trees = {'/robot1': LINKS, '/robot2': [LINKS[0], ('base_link', 'lidar', other)]}
    recording.static = [
        (f'{name}/tf_static', T0 - (2 - i) * STEP, trees[name]) for i, name in enumerate(order)
    ]
    for bundle in recording.write().read().bundles:
        assert "place 'lidar' 1.00 m and 0.0 degrees apart" in bundle.notes[LIDAR]


def test_coordinates_of_a_map_keep_their_digits(recording):
    origin = np.array([32_500_000.25, 5_800_000.5, 120.0])  # UTM with its zone
    near = np.array([[10.0, 0, 1.5], [10, 1, 1.2]])
    recording.points = [near + origin] * 3
    recording.lidar_frame = 'map'
    T_base_map = np.eye(4)
    T_base_map[:3, 3] = -origin
    recording.static = [('/tf_static', T0, [LINKS[0], ('base_link', 'map', T_base_map)])]
    for bundle in recording.write().read().bundles:
        seen = project_sweep(bundle.frames[LIDAR], bundle.T_camera[LIDAR], bundle.camera)
        expected = near @ OPTICAL[:3, :3] + [0, 1.5, 0]
        np.testing.assert_allclose(seen.xyz, expected, atol=1e-7)
