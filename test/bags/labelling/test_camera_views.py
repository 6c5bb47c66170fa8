"""All cameras of a recording in one run: as if each had been labelled alone."""

from __future__ import annotations

import re
import time

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from sam_ad_perception.bags import sensor_messages
from sam_ad_perception.bags.camera_views import choose_views, name_views
from sam_ad_perception.bags.checking.recording_check import check_recording
from sam_ad_perception.bags.labelling.recording import label_bag
from sam_ad_perception.bags.reader import BagError, BagReader
from sam_ad_perception.bags.topics import choose_topics
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.commands.cli import main
from sam_ad_perception.core.events.decoding import EventDecoder
from sam_ad_perception.core.events.encoding import encode_packet
from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.messages import from_ros as cv
from sam_ad_perception.core.sensors import CameraModel, Events
from sam_ad_perception.nodes.launch.model import PerceptionLaunch
from sam_ad_perception.nodes.ros.configuration import VIEW_NAME

SPACE = LABEL_SPACES['cityscapes']
NAMES = ('FRONT', 'FRONT_LEFT', 'FRONT_RIGHT', 'BACK', 'BACK_LEFT', 'BACK_RIGHT')
ANGLES = (0, 55, -55, 180, 110, -110)
SIZE, FOCAL = (48, 80), 60.0
START, PERIOD, SWEEPS = 1_700_000_000_000_000_000, 100_000_000, 4
IMAGE, INFO = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CameraInfo'


def camera_pose(degrees):
    """`T_lidar_camera` of a camera that looks to a side of the vehicle."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    T = np.eye(4)
    T[:3, :3] = turn @ np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    T[:3, 3] = 0.8 * c, 0.8 * s, -0.3
    return T


def write_surround(path, rng, names=NAMES, more=lambda types: (), frame_of='cam_{}'.format):
    """Six cameras around a lidar with thermal camera and events, each camera with its phase."""
    K = np.array([[FOCAL, 0, SIZE[1] / 2 - 0.5], [0, FOCAL, SIZE[0] / 2 - 0.5], [0, 0, 1]])
    with BagWriter(path) as writer:
        types, found = writer.types, []
        links = [
            ('lidar', f'cam_{n}', START, camera_pose(a))
            for n, a in zip(names, ANGLES, strict=False)
        ]
        links += [('cam_' + names[0], n, START, np.eye(4)) for n in ('thermal', 'dvs')]
        found.append((START, '/tf_static', cv.transforms_to_message(types, links)))
        for k in range(SWEEPS):
            for i, name in enumerate(names):
                stamp = START + k * PERIOD + i * PERIOD // 8
                rgb = np.kron(rng.integers(0, 255, (6, 10, 3)), np.ones((8, 8, 1))).astype('u1')
                info = cv.camera_to_message(
                    types, CameraModel(*SIZE[::-1], K, frame_id=frame_of(name)), stamp
                )
                image = cv.array_to_image(types, rgb, 'rgb8', stamp, frame_of(name))
                # Cameras are recorded one after the other, the last of them a sweep late.
                found.append((stamp + i * PERIOD // 5, f'/CAM_{name}/image_rect', image))
                found.append((stamp, f'/CAM_{name}/camera_info', info))
            stamp = START + k * PERIOD
            points = np.zeros(900, np.dtype([(n, '<f4') for n in ('x', 'y', 'z', 'intensity')]))
            angle, far = rng.uniform(-np.pi, np.pi, 900), rng.uniform(4, 30, 900)
            points['x'], points['y'] = far * np.cos(angle), far * np.sin(angle)
            points['z'] = rng.uniform(-2, 2, 900)
            points['intensity'] = rng.uniform(0, 100, 900)
            found.append(
                (stamp, '/LIDAR_TOP/points', cv.cloud_to_message(types, points, stamp, 'lidar'))
            )
            heat = rng.integers(28000, 31000, SIZE).astype(np.uint16)
            found.append(
                (
                    stamp,
                    '/thermal/image_rect',
                    cv.array_to_image(types, heat, 'mono16', stamp, 'thermal'),
                )
            )
            for name, topic in (('thermal', 'thermal'), ('dvs', 'events')):
                model = CameraModel(*SIZE[::-1], K, frame_id=name)
                found.append(
                    (stamp, f'/{topic}/camera_info', cv.camera_to_message(types, model, stamp))
                )
            t = np.sort(rng.integers(stamp - 30_000_000, stamp, 300)) // 1000 * 1000
            x, y = (rng.integers(0, n, 300).astype(np.uint16) for n in SIZE[::-1])
            events = Events(x, y, rng.random(300) < 0.5, t, SIZE)
            packet = encode_packet(events, 'evt3', seq=k, end_ns=stamp, frame_id='dvs')
            found.append((stamp, '/events', cv.packet_to_message(types, packet)))
        found += more(types)
        announced = set()
        for received_ns, topic, message in sorted(found, key=lambda each: each[0]):
            if topic not in announced:
                writer.add_topic(topic, message.__msgtype__, latched=topic == '/tf_static')
                announced.add(topic)
            writer.write(topic, message, received_ns)
    return path


def read_results(folder, view=''):
    """Bytes of the masks, confidences, depth images, points and statuses of a view."""
    space, found = f'/{view}' if view else '', {}
    with BagReader(folder) as reader:
        for message in reader.messages():
            if message.topic.startswith((f'{space}/semantic/', f'{space}/depth_registered/')):
                content = reader.deserialize(message)
                if message.topic.endswith(
                    ('image', 'confidence', 'image_rect', 'color', 'points')
                ):
                    name = message.topic.removeprefix(space)
                    found.setdefault(name, []).append((cv.stamp_of(content), bytes(content.data)))
    return found


@pytest.fixture(scope='module')
def surround(tmp_path_factory):
    return write_surround(tmp_path_factory.mktemp('six') / 'drive', np.random.default_rng(7))


def test_six_views_are_those_of_six_runs_and_read_once(surround, segmenter, tmp_path, monkeypatch):
    counts = {'sweeps': 0, 'packets': 0}
    decode_frame, decode_packet = sensor_messages.frame_from_message, EventDecoder.decode

    def count_frame(message, modality, **more):
        counts['sweeps'] += modality == 'lidar'
        return decode_frame(message, modality, **more)

    def count_packet(self, packet):
        counts['packets'] += 1
        return decode_packet(self, packet)

    monkeypatch.setattr(sensor_messages, 'frame_from_message', count_frame)
    monkeypatch.setattr(EventDecoder, 'decode', count_packet)
    begun = time.process_time()
    report = label_bag(surround, tmp_path / 'all', segmenter, SPACE)
    together_s = time.process_time() - begun
    assert counts == {'sweeps': SWEEPS, 'packets': SWEEPS}
    assert set(report.views) == {f'CAM_{name}' for name in NAMES}
    assert report.frames == SWEEPS * len(NAMES)
    alone_s = 0.0
    for name in NAMES:
        camera = f'/CAM_{name}/image_rect'
        with BagReader(surround) as reader:
            mapping = choose_topics(reader, {'camera': camera})
        begun = time.process_time()
        single = label_bag(surround, tmp_path / name, segmenter, SPACE, mapping=mapping)
        alone_s += time.process_time() - begun
        own = report.views[f'CAM_{name}']
        for field in (
            'frames',
            'dropped',
            'used',
            'missing',
            'counters',
            'unreadable',
            'findings',
        ):
            assert getattr(own, field) == getattr(single, field), (name, field)
        expected = read_results(tmp_path / name)
        found = read_results(tmp_path / 'all', f'CAM_{name}')
        assert len(expected['/semantic/image']) == SWEEPS
        assert len(expected['/semantic/points']) == SWEEPS
        assert found == expected
    print(f'six views in one run {together_s:.2f} s, in six runs {alone_s:.2f} s of CPU')


def test_one_camera_is_labelled_as_before(write_drive, segmenter, tmp_path):
    bag = write_drive(3)
    with BagReader(bag) as reader:
        views = choose_views(reader)
        assert views.mappings == {'': choose_topics(reader)}
    label_bag(bag, tmp_path / 'guessed', segmenter, SPACE)
    with BagReader(tmp_path / 'guessed') as reader:
        assert '/semantic/image' in {topic.name for topic in reader.topics}


@given(st.lists(st.text('/ab12_-', min_size=1, max_size=8).map('/{}'.format), unique=True))
@example(['/x/1/image', '/x/2/image', '/x/2/image_rect'])
def test_every_name_is_one_that_ros_allows_and_of_one_camera(topics):
    named = name_views(topics)
    assert list(named.values()) == topics
    assert all(VIEW_NAME.fullmatch(name) for name in named)


def test_names_are_what_distinguishes_the_topics():
    def names(*topics):
        return list(name_views(topics))

    assert names('/CAM_FRONT/image_rect/compressed', '/CAM_BACK/image_rect/compressed') == [
        'CAM_FRONT',
        'CAM_BACK',
    ]
    assert names('/front/camera/image_rect', '/left/camera/image_rect') == ['front', 'left']
    assert names(
        '/sensing/camera/camera0/image_rect_color', '/sensing/camera/camera1/image_raw'
    ) == [
        'camera0',
        'camera1',
    ]
    assert names('/kitti/0/image', '/kitti/1/image') == ['camera_0', 'camera_1']
    assert names('/a-b/image_raw', '/a_b/image_raw') == ['a_b', 'a_b_2']
    assert names('/stereo/left/image', '/stereo/right/image', '/rear/cam/image') == [
        'stereo_left',
        'stereo_right',
        'rear_cam',
    ]


def test_pictures_of_one_camera_are_one_view(tmp_path, rng):
    def more(types):
        for k in range(SWEEPS):
            stamp = START + k * PERIOD
            grey = rng.integers(0, 255, SIZE, dtype=np.uint8)
            depth = rng.integers(1000, 9000, SIZE).astype(np.uint16)
            info = cv.camera_to_message(
                types, CameraModel(*SIZE[::-1], np.eye(3) * 50, frame_id='x'), stamp
            )
            for topic, pixels, encoding, frame in (
                ('/CAM_FRONT/image_mono', grey, 'mono8', 'cam_FRONT'),
                ('/copy/image_raw', grey, 'mono8', 'cam_FRONT'),
                ('/no_info/image_raw', grey, 'mono8', 'other'),
                ('/depth/image_rect', depth, '16UC1', 'cam_d'),
                ('/d435/infra1/image_rect_raw', grey, 'mono8', 'cam_i'),
            ):
                yield stamp, topic, cv.array_to_image(types, pixels, encoding, stamp, frame)
            for topic in ('/copy', '/depth', '/d435/infra1'):
                yield stamp, f'{topic}/camera_info', info

    bag = write_surround(tmp_path / 'drive', rng, ('FRONT', 'BACK'), more)
    with BagReader(bag) as reader:
        views = choose_views(reader)
    assert views.topics == {
        'CAM_FRONT': '/CAM_FRONT/image_rect',
        'CAM_BACK': '/CAM_BACK/image_rect',
    }
    told = {name: why for name, _, why in views.left_out}
    assert "its frame 'cam_FRONT' is that of /CAM_FRONT/image_rect" in told['/copy/image_raw']
    assert 'it shares /CAM_FRONT/camera_info' in told['/CAM_FRONT/image_mono']
    assert 'no camera_info' in told['/no_info/image_raw']
    assert 'near infrared' in told['/d435/infra1/image_rect_raw']
    assert set(told) >= {'/copy/image_raw', '/no_info/image_raw', '/CAM_FRONT/image_mono'}
    assert views.mappings['CAM_BACK'].sensors['depth'].data == '/depth/image_rect'


def test_views_can_be_named(surround, tmp_path, capsys, tiny_zoo, monkeypatch):
    monkeypatch.setenv('COLUMNS', '200')
    model = ['--zoo', str(tiny_zoo), '--checkpoints', str(tiny_zoo.parent), '--model', 'tiny']

    def label(name, *arguments):
        out = tmp_path / name
        code = main(['label', str(surround), '--out', str(out), '--no-copy', *model, *arguments])
        return code, out, capsys.readouterr().err

    def masks(out):
        with BagReader(out) as reader:
            return {t.name for t in reader.topics if t.name.endswith('/semantic/image')}

    code, out, told = label('two', '--view', 'cam_front', '--view', 'rear:=/CAM_BACK/image_rect')
    assert code == 0
    assert masks(out) == {'/cam_front/semantic/image', '/rear/semantic/image'}
    assert 'rear: camera' in told
    assert told.count('none names it') == 4
    report = ['report', str(out), '--inputs', str(surround), '--out', str(tmp_path / 'page')]
    report += ['--zoo', str(tiny_zoo)]
    assert main(report) == 2  # the name does not tell which camera that was
    assert '--view rear:=TOPIC names its images' in capsys.readouterr().err
    assert main([*report, '--view', 'hinten:=/CAM_BACK/image_rect']) == 2
    assert '--view hinten: the masks have the views' in capsys.readouterr().err
    assert main([*report, '--view', 'rear:=/CAM_BACK/image_rect']) == 0
    assert 'Masks of two: rear' in (tmp_path / 'page' / 'report.html').read_text()
    params = tmp_path / 'node.param.yaml'
    params.write_text('segmentation: {ros__parameters: {views: [CAM_FRONT]}}\n')
    code, out, told = label('file', '--params', str(params))
    assert code == 0
    assert masks(out) == {'/CAM_FRONT/semantic/image'}
    params.write_text('segmentation: {ros__parameters: {views: [front, left]}}\n')
    code, out, told = label('unknown', '--params', str(params))
    assert code == 2
    assert 'the view front is no camera of' in told
    assert '--view front:=TOPIC' in told
    code, out, told = label('one', '--topic', 'camera:=/CAM_BACK/image_rect', '--report')
    assert code == 0
    assert masks(out) == {'/semantic/image'}


def test_one_page_shows_all_views(surround, tmp_path, capsys, tiny_zoo):
    model = ['--zoo', str(tiny_zoo), '--checkpoints', str(tiny_zoo.parent), '--model', 'tiny']
    out = tmp_path / 'out'
    two = ['--view', 'CAM_FRONT', '--view', 'CAM_BACK']
    assert main(['label', str(surround), '--out', str(out), *model, *two, '--report']) == 0
    page = (out / 'report.html').read_text()
    assert page.count('<iframe') == 2
    for name in ('CAM_FRONT', 'CAM_BACK'):
        assert f'Masks of drive: {name}' in page
        assert (out / f'{name}_overlay.webm').stat().st_size > 0
    assert '/CAM_BACK_LEFT/image_rect' in page  # under what was not read


def test_bundles_are_of_one_camera_and_that_is_said(surround, caplog):
    import sam_ad_perception

    first = next(iter(sam_ad_perception.read_bundles(surround)))
    assert first.camera.frame_id == 'cam_FRONT'
    (record,) = caplog.records
    assert 'only /CAM_FRONT/image_rect is read' in record.getMessage()
    caplog.clear()
    named = {'camera': '/CAM_BACK/image_rect'}
    first = next(iter(sam_ad_perception.read_bundles(surround, topics=named)))
    assert (first.camera.frame_id, caplog.records) == ('cam_BACK', [])


def test_a_role_and_views_contradict_each_other(surround):
    with BagReader(surround) as reader, pytest.raises(BagError, match='the role camera'):
        choose_views(reader, {'camera': '/CAM_BACK/image_rect'}, wanted={'rear': ''})


def share_by_opencv(folder, degrees):
    """Median share of the points of all sweeps that OpenCV projects into one camera's image."""
    T = np.linalg.inv(camera_pose(degrees))
    K = np.array([[FOCAL, 0, SIZE[1] / 2 - 0.5], [0, FOCAL, SIZE[0] / 2 - 0.5], [0, 0, 1]])
    shares = []
    with BagReader(folder) as reader:
        for message in reader.messages(['/LIDAR_TOP/points']):
            data = bytes(reader.deserialize(message).data)
            points = np.frombuffer(data, '<f4').reshape(-1, 4)[:, :3].astype(float)
            front = (points @ T[:3, :3].T + T[:3, 3])[:, 2] > 0
            rotation, _ = cv2.Rodrigues(T[:3, :3])
            uv, _ = cv2.projectPoints(points, rotation, T[:3, 3], K, None)
            uv = uv[:, 0]
            high = np.array(SIZE[::-1]) - 0.5
            shares.append(np.mean(front & ((uv >= -0.5) & (uv < high)).all(axis=1)))
    return np.median(shares)


def test_check_looks_at_every_camera(surround, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '200')
    check = check_recording(surround)
    # Its phase is the farthest from that of the thermal camera, and that is all.
    assert {f.code for f in check.findings} == {'check.unused'}
    assert all(f.text.startswith('CAM_BACK_RIGHT: ') for f in check.findings)
    assert set(check.views) == {f'CAM_{name}' for name in NAMES}
    for name, degrees in zip(NAMES, ANGLES, strict=True):
        view = check.views[f'CAM_{name}']
        assert view.bundles == SWEEPS
        assert view.camera.topic == f'/CAM_{name}/image_rect'
        assert view.camera.timing.period_s == pytest.approx(1e-9 * PERIOD)
        assert view.camera.rectified is True
        assert view.camera.lens == f'no distortion, focal length {FOCAL:.0f} px, 67 deg wide'
        share = share_by_opencv(surround, degrees)
        assert 0.05 < share < 0.5
        assert view.camera.in_view == pytest.approx(share, abs=0.01)

    code = main(['check', str(surround), '--out', str(tmp_path), '--write', str(tmp_path / 'p')])
    assert code == 0
    shown = capsys.readouterr().out
    assert [f'camera CAM_{name}' in shown for name in NAMES] == [True] * 6
    assert shown.count('\nlidar') == 1
    assert [f'--view CAM_{n}:=/CAM_{n}/image_rect' in shown for n in NAMES] == [True] * 6
    page = (tmp_path / 'check.html').read_text()
    captions = re.findall('<figcaption>(.*?)</figcaption>', page)
    assert [c.split(',')[0] for c in captions] == [
        'camera CAM_FRONT',
        'thermal',
        'event',
        *(f'camera CAM_{name}' for name in NAMES[1:]),
    ]
    assert all(int(re.search(r', (\d+) of 900 points', c)[1]) > 40 for c in captions)
    # What it says to launch reads each recorded topic.
    given = dict(re.findall(r'sam_ad_(\w+):=([^ \n]+)', shown.split('ros2 launch')[1]))
    assert given.pop('segmentation_params_file') == str(tmp_path / 'p')
    (node,) = PerceptionLaunch(given, {'segmentation': ()}).nodes('segmentation')
    read = dict(node.remappings)
    for name in NAMES:
        assert read[f'CAM_{name}/camera/image_rect'] == f'/CAM_{name}/image_rect'
        assert read[f'CAM_{name}/camera/camera_info'] == f'/CAM_{name}/camera_info'
        assert read[f'CAM_{name}/points'] == '/LIDAR_TOP/points'
    written = yaml.safe_load((tmp_path / 'p').read_text())['/**']['ros__parameters']
    assert written['views'] == [f'CAM_{name}' for name in NAMES]

    assert main(['check', str(surround), '--view', 'rear:=/CAM_BACK/image_rect']) == 0
    shown = capsys.readouterr().out
    assert 'camera rear' in shown
    assert '--view rear:=/CAM_BACK/image_rect' in shown
    assert 'not read: /CAM_FRONT/image_rect, 4 messages: no view' in shown


def test_what_is_wrong_with_one_camera_names_its_view(tmp_path, rng):
    def more(types):
        for k in range(SWEEPS):  # a camera whose frame no transform knows
            stamp = START + k * PERIOD
            rgb = rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8)
            K = np.array([[FOCAL, 0, 40], [0, FOCAL, 24], [0, 0, 1]])
            camera = CameraModel(*SIZE[::-1], K, frame_id='nowhere')
            yield (
                stamp,
                '/CAM_ROOF/image_rect',
                cv.array_to_image(types, rgb, 'rgb8', stamp, 'nowhere'),
            )
            yield stamp, '/CAM_ROOF/camera_info', cv.camera_to_message(types, camera, stamp)

    check = check_recording(write_surround(tmp_path / 'drive', rng, ('FRONT', 'BACK'), more))
    found = [f for f in check.findings if f.code == 'check.unused' and f.sensor == 'lidar']
    assert [f.text.partition(': ')[0] for f in found] == ['CAM_ROOF']
    assert 'nowhere' in found[0].text
    assert check.views['CAM_BACK'].camera.in_view > 0.05
    assert np.isnan(check.views['CAM_ROOF'].camera.in_view)


def test_cameras_that_share_a_frame_are_told_apart_by_topic(tmp_path, rng):
    names = ('FRONT', 'BACK')
    bag = write_surround(tmp_path / 'drive', rng, names, frame_of=lambda name: 'cam_FRONT')
    with BagReader(bag) as reader:
        assert list(choose_views(reader).topics) == ['CAM_FRONT', 'CAM_BACK']
    (told,) = (f for f in check_recording(bag).findings if f.code == 'check.frame')
    assert told.text.startswith('CAM_FRONT, CAM_BACK have one frame')
