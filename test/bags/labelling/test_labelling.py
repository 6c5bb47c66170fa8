from __future__ import annotations

from collections import Counter

import cv2
import numpy as np
import pytest

from sam_ad_perception.bags.labelling.recording import LabelOptions, label_bag
from sam_ad_perception.bags.reader import BagError, BagReader
from sam_ad_perception.bags.topics import guess_topics
from sam_ad_perception.core.geometry.calibration import Calibration
from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.messages import from_ros as cv
from sam_ad_perception.core.messages.labelled_cloud import read_labelled_points
from sam_ad_perception.core.selections.config import SelectionConfig
from sam_ad_perception.core.selections.messages import PARTS
from sam_ad_perception.core.sensors import CameraModel, Modality
from sam_ad_perception.core.settings.parameters import build
from sam_ad_perception.core.synchronization.bundler import BundlerConfig

SPACE = LABEL_SPACES['cityscapes']


@pytest.fixture
def label(tmp_path, segmenter):
    """Labels a bag and reads back, by topic, the messages of the result."""

    def run(bag, name='labelled', **options):
        out = tmp_path / name
        report = label_bag(bag, out, segmenter, SPACE, **options)
        found = {}
        with BagReader(out) as reader:
            for message in reader.messages():
                found.setdefault(message.topic, []).append(reader.deserialize(message))
            found['topics'] = {t.name: t for t in reader.topics}
        return report, found

    return run


def masks(found):
    return [cv.image_to_array(m)[0] for m in found['/semantic/image']]


def test_every_camera_frame_gets_what_belongs_to_it(write_drive, label, drive_facts):
    report, found = label(write_drive(3))
    assert report.frames == 3
    assert report.used == {'camera+thermal+event+lidar': 3}
    assert (report.dropped, report.unreadable, report.not_copied) == ({}, {}, ())
    stamps = [drive_facts.START + k * drive_facts.PERIOD for k in range(3)]
    for topic, encoding in (
        ('/semantic/image', 'mono8'),
        ('/semantic/confidence', 'mono8'),
        ('/semantic/color', 'rgb8'),
        ('/depth_registered/image_rect', '32FC1'),
    ):
        got = found[topic]
        assert [cv.stamp_of(m) for m in got] == stamps
        assert {cv.frame_of(m) for m in got} == {'camera_optical'}
        assert {(m.encoding, m.height, m.width) for m in got} == {(encoding, *drive_facts.SIZE)}
    for mask, colors in zip(masks(found), found['/semantic/color'], strict=True):
        assert set(np.unique(mask)) <= {*range(19), 255}
        np.testing.assert_array_equal(cv.image_to_array(colors)[0], SPACE.palette[mask])
    info = found['/depth_registered/camera_info'][0]
    np.testing.assert_array_equal(info.k.reshape(3, 3), drive_facts.K)
    assert found['topics']['/semantic/label_info'].latched
    (labels,) = found['/semantic/label_info']
    assert [c.class_name for c in labels.class_map] == list(SPACE.names)


def test_depth_and_labelled_points_agree_with_opencv(write_drive, label, drive_facts):
    _, found = label(write_drive(2))
    T, K = drive_facts.T_CAMERA_LIDAR, drive_facts.K
    height, width = drive_facts.SIZE
    for k in range(2):
        cloud = found['/semantic/points'][k]
        assert cloud.header.frame_id == 'lidar'
        assert [f.name for f in cloud.fields] == ['x', 'y', 'z', 'intensity', 'rgb', 'label']
        assert cloud.width == 200
        xyz, ids = read_labelled_points(cloud)
        assert len(xyz) == 197  # three of 200 are NaN
        xyz = xyz.astype(float)
        seen = xyz @ T[:3, :3].T + T[:3, 3]
        uv = cv2.projectPoints(seen, np.zeros(3), np.zeros(3), K, None)[0].reshape(-1, 2)
        u, v = np.rint(uv).astype(int).T
        inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
        expected = np.full((height, width), np.inf)
        np.minimum.at(expected, (v[inside], u[inside]), seen[inside, 2])
        depth, _ = cv.image_to_array(found['/depth_registered/image_rect'][k])
        np.testing.assert_allclose(np.nan_to_num(depth, nan=np.inf), expected, rtol=1e-5)
        mask = masks(found)[k]
        assert (ids[~inside] == 255).all()
        front = np.flatnonzero(inside)[seen[inside, 2] <= expected[v[inside], u[inside]] + 1e-3]
        assert front.size > 50
        # Among scattered points the occlusion filter takes some for hidden: those get no label.
        told = front[ids[front] != 255]
        assert told.size > 0.6 * front.size
        np.testing.assert_array_equal(ids[told], mask[v[told], u[told]])


def test_the_same_bag_gives_the_same_masks(write_drive, label):
    bag = write_drive(2)
    first, second = (masks(label(bag, name)[1]) for name in ('one', 'two'))
    np.testing.assert_array_equal(first, second)


def test_the_status_says_what_was_used(write_drive, label):
    report, found = label(write_drive(3, lambda t, m: None if t.startswith('/thermal') else m))
    assert report.used == {'camera+event+lidar': 3}
    for message in found['/semantic/status']:
        status = cv.status_from_message(message)
        assert status.used == ('camera', 'event', 'lidar')
        assert 'thermal' in status.missing
        assert sum(status.gate.values()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ('topic', 'modality', 'frames', 'least'),
    [
        ('/thermal/image_rect', 'thermal', 2, 2),
        ('/events', 'event', 2, 2),
        ('/points', 'lidar', 2, 2),
        # nobody knows at first that the camera will not come: thermal leads after max_age
        ('/camera/image_rect', 'camera', 9, 6),
    ],
)
def test_any_sensor_may_be_missing(
    write_drive, label, drive_facts, topic, modality, frames, least
):
    report, found = label(write_drive(frames, lambda t, m: None if t == topic else m))
    assert report.frames >= least
    assert {m.shape for m in masks(found)} == {drive_facts.SIZE}
    assert {cv.frame_of(m) for m in found['/semantic/image']} == {'camera_optical'}
    assert not any(modality in subset for subset in report.used)
    assert ('/depth_registered/image_rect' in found) == (modality != 'lidar')


def test_inputs_are_copied_byte_for_byte_or_not_at_all(write_drive, label, tmp_path):
    bag = write_drive(2)
    label(bag, 'with')
    label(bag, 'without', options=LabelOptions(copy_inputs=False, color=False, points=False))
    with BagReader(bag) as source, BagReader(tmp_path / 'with') as labelled:
        names = [t.name for t in source.topics]
        sent = sorted((m.topic, m.received_ns, m.data) for m in source.messages())
        got = sorted((m.topic, m.received_ns, m.data) for m in labelled.messages(names))
        assert got == sent
    with BagReader(tmp_path / 'without') as labelled:
        assert {t.name for t in labelled.topics} == {
            '/semantic/image',
            '/semantic/confidence',
            '/semantic/status',
            '/semantic/label_info',
            '/depth_registered/image_rect',
            '/depth_registered/camera_info',
        }


def test_labelling_again_replaces_the_old_result(write_drive, label, tmp_path):
    label(write_drive(2), 'once')
    report, found = label(tmp_path / 'once', 'twice')
    assert report.frames == 2
    assert len(found['/semantic/image']) == 2
    assert len(found['/semantic/label_info']) == 1


def test_compressed_and_raw_cameras_give_the_same_masks(write_drive, label, tmp_path):
    from sam_ad_perception.bags.writer import BagWriter

    bag = write_drive(2)
    with BagReader(bag) as source, BagWriter(tmp_path / 'png') as writer:
        for topic in source.topics:
            writer.copy_topic(topic)
        writer.add_topic('/camera/image_rect/compressed', 'sensor_msgs/msg/CompressedImage')
        for message in source.messages():
            if message.topic != '/camera/image_rect':
                writer.copy(message)
                continue
            image = source.deserialize(message)
            pixels, encoding = cv.image_to_array(image)
            stamp, frame = cv.stamp_of(image), cv.frame_of(image)
            packed = cv.array_to_compressed(writer.types, pixels, encoding, stamp, frame)
            writer.write('/camera/image_rect/compressed', packed, message.received_ns)
    raw, packed = label(bag, 'a')[1], label(tmp_path / 'png', 'b')[1]
    np.testing.assert_array_equal(masks(raw), masks(packed))


def spoil(topic, **fields):
    """Change fields of the second message of a topic."""
    count = Counter()

    def change(name, message):
        count[name] += 1
        if name == topic and count[name] == 2:
            for field, value in fields.items():
                setattr(message, field, value)
        return message

    return change


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (
            spoil('/camera/image_rect', encoding='yuv420'),
            "Image.encoding 'yuv420' is not supported",
        ),
        (spoil('/camera/image_rect', data=np.zeros(9, np.uint8)), 'Image.data is truncated: 9'),
        (spoil('/camera/image_rect', height=0, width=0), 'Image.height x width is 0 x 0'),
        (
            spoil('/points', fields=[]),
            "PointCloud2: cloud needs x, y and z, lacks ['x', 'y', 'z']",
        ),
        (spoil('/thermal/image_rect', step=3), 'Image.step is 3, expected at least 128'),
        (spoil('/events', encoding='evt9'), "encoding must be one of ['evt2', 'evt21', 'evt3', "),
        (spoil('/camera/camera_info', width=0), 'CameraInfo:'),
    ],
)
def test_a_bad_message_is_counted_with_its_reason_and_the_rest_goes_on(
    write_drive, label, change, reason
):
    report, _ = label(write_drive(3, change))
    ((topic, unreadable),) = report.unreadable.items()
    assert unreadable.count == 1
    assert reason in unreadable.reason
    camera_frame = topic == '/camera/image_rect'
    assert report.frames == (2 if camera_frame else 3)


def test_an_unhealthy_frame_is_not_used_and_the_status_says_why(write_drive, label, drive_facts):
    black = np.zeros(drive_facts.SIZE[0] * drive_facts.SIZE[1] * 3, np.uint8)
    report, found = label(write_drive(4, spoil('/camera/image_rect', data=black)))
    assert report.frames == 4
    statuses = [cv.status_from_message(m) for m in found['/semantic/status']]
    reasons = [s.missing.get('camera', '').partition(':')[0] for s in statuses]
    assert reasons == ['', 'black', 'recovering', '']
    assert set(report.latency_ms) == {'health', 'align', 'network', 'mask', 'depth', 'total'}
    # The next recording begins anew, although it has the same stamps.
    again, _ = label(write_drive(4, name='healthy'), name='healthy_labelled')
    assert again.used == {'camera+thermal+event+lidar': 4}


def test_frames_without_a_healthy_sensor_are_counted_by_reason(write_drive, label, drive_facts):
    def only_black(topic, message):
        if topic == '/camera/image_rect':
            height, width = drive_facts.SIZE
            level = np.uint8(1 + message.header.stamp.nanosec // drive_facts.PERIOD % 5)
            message.data = np.full(height * width * 3, level)
            return message
        return message if topic in ('/camera/camera_info', '/tf_static') else None

    report, _ = label(write_drive(4, only_black))
    assert report.frames == 0
    ((reason, count),) = report.dropped.items()
    assert 'camera: black: 98 % of the pixels are at most 4 of 255' in reason
    assert count == 4


def test_a_required_sensor_that_is_missing_drops_frames_with_a_reason(write_drive, label):
    config = build(BundlerConfig, {'sync.thermal.required': True})
    bag = write_drive(3, lambda t, m: None if t == '/thermal/image_rect' else m)
    report, found = label(bag, options=LabelOptions(config))
    assert report.frames == 0
    ((reason, count),) = report.dropped.items()
    assert 'thermal' in reason
    assert count == len(found['/semantic/status'])
    assert all(cv.status_from_message(m).dropped == reason for m in found['/semantic/status'])


def test_a_clock_offset_moves_the_pairing_and_not_the_header(write_drive, label, drive_facts):
    def late(topic, message):
        if topic == '/camera/image_rect':
            message.header.stamp.nanosec += 20_000_000
        return message

    config = build(BundlerConfig, {'sync.camera.offset_s': 0.02})
    report, found = label(write_drive(3, late), options=LabelOptions(config))
    assert report.frames == 3
    stamps = [cv.stamp_of(m) for m in found['/semantic/image']]
    assert stamps == [drive_facts.START + k * drive_facts.PERIOD + 20_000_000 for k in range(3)]
    errors = cv.status_from_message(found['/semantic/status'][1]).time_error_ms
    assert errors['thermal'] == 0


def test_calibration_fills_what_the_bag_lacks(write_drive, label, drive_facts):
    bag = write_drive(3, lambda t, m: m if t in ('/camera/image_rect', '/points') else None)
    report, _ = label(bag, 'alone')  # a camera needs no lens for a mask of its own
    assert report.used == {'camera': 3}
    height, width = drive_facts.SIZE
    calibration = Calibration(
        (('camera_optical', 'lidar', drive_facts.T_CAMERA_LIDAR),),
        {Modality.CAMERA: CameraModel(width, height, drive_facts.K, frame_id='camera_optical')},
    )
    report, _ = label(bag, options=LabelOptions(calibration=calibration))
    assert report.used == {'camera+lidar': 3}


def test_without_a_transform_the_lidar_is_missing_and_says_why(write_drive, label):
    report, found = label(write_drive(3, lambda t, m: None if t == '/tf_static' else m))
    assert report.used == {'camera': 3}
    status = cv.status_from_message(found['/semantic/status'][0])
    assert 'lidar' in status.missing['lidar']
    assert 'camera_optical' in status.missing['lidar']


def test_a_bag_from_which_no_mask_can_come_is_refused(write_drive, label, tmp_path):
    only_tf = write_drive(1, lambda t, m: m if t == '/tf_static' else None, 'tf')
    with pytest.raises(
        BagError, match='has no camera and no other sensor that is known here: /tf'
    ):
        label(only_tf)
    only_lidar = write_drive(1, lambda t, m: m if t == '/points' else None, 'lidar')
    with pytest.raises(BagError, match='has no camera: neither an image nor a CameraInfo'):
        label(only_lidar)
    assert not (tmp_path / 'labelled').exists()


def test_progress_reaches_its_end(write_drive, segmenter, tmp_path):
    told = []
    label_bag(
        write_drive(2), tmp_path / 'out', segmenter, SPACE, progress=lambda *now: told.append(now)
    )
    assert told == sorted(told)
    done, total = told[-1]
    assert done == total == 1 + 2 * 7


def test_the_kitti_bag_is_labelled_frame_by_frame(sample_data, segmenter, tmp_path):
    bag, out = sample_data / 'kitti' / 'bag', tmp_path / 'kitti'
    report = label_bag(bag, out, segmenter, SPACE, options=LabelOptions(color=False, points=False))
    assert (report.frames, report.used) == (8, {'camera+lidar': 8})
    with BagReader(out) as labelled:
        camera = guess_topics(labelled.topics).sensors[Modality.CAMERA].data

        def headers(topic):
            read = map(labelled.deserialize, labelled.messages([topic]))
            return [(cv.stamp_of(m), cv.frame_of(m)) for m in read]

        assert headers('/semantic/image') == headers(camera)
        depth = [
            labelled.deserialize(m) for m in labelled.messages(['/depth_registered/image_rect'])
        ]
        assert {(m.width, m.height) for m in depth} == {(1242, 375)}
        assert len(depth) == 8


def test_selections_are_written_as_the_node_publishes_them(write_drive, label, drive_facts):
    bag = write_drive(2)
    _, found = label(bag, 'first')
    labels = np.concatenate([read_labelled_points(m)[1] for m in found['/semantic/points']])
    counts = np.bincount(labels[labels != 255], minlength=19)
    classes = (SPACE.names[int(counts.argmax())], 'train')
    selections = {
        'some': SelectionConfig(classes),
        'only': SelectionConfig(classes, keep=True, organized=True),
    }
    _, found = label(bag, options=LabelOptions(selections=selections))
    ids = [SPACE.id_of(name) for name in classes]
    for name, keep in (('some', False), ('only', True)):
        parts = {part: found[f'/semantic/{name}/{part}'] for part in PARTS}
        assert {len(messages) for messages in parts.values()} == {2}
        for k, mask in enumerate(masks(found)):
            member = np.isin(mask, ids)
            assert 0 < member.mean() < 1
            selected, depth, cloud = (parts[part][k] for part in ('mask', 'depth', 'points'))
            assert selected.header == depth.header == found['/semantic/image'][k].header
            expected = np.where(member, 255, 0)
            np.testing.assert_array_equal(cv.image_to_array(selected)[0], expected)
            whole = cv.image_to_array(found['/depth_registered/image_rect'][k])[0]
            expected = np.where(member == keep, whole, np.nan)
            np.testing.assert_array_equal(cv.image_to_array(depth)[0], expected)
            xyz, labels = read_labelled_points(found['/semantic/points'][k])
            left = np.isin(labels, ids) == keep
            assert 0 < left.sum() < len(xyz)
            assert cloud.header == found['/semantic/points'][k].header
            assert cloud.width == (200 if keep else left.sum())
            np.testing.assert_array_equal(cv.cloud_from_message(cloud)[0].points, xyz[left])
    with pytest.raises(ValueError, match="did you mean 'car'"):
        label(bag, 'no', options=LabelOptions(selections={'a': SelectionConfig(('cars',))}))
