"""`sam_ad check` on real recordings and on simulated drives: what is known of them, no more."""

from __future__ import annotations

import importlib.util
import re

import cv2
import numpy as np
import pytest

from sam_ad_perception.bags.checking.recording_check import check_recording
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.commands import cli
from sam_ad_perception.commands.check import describe_sensor, list_findings, list_sensors
from sam_ad_perception.core.messages import from_ros
from sam_ad_perception.core.sensors import CameraModel, Modality

pytestmark = pytest.mark.data

START = 1_700_000_000_000_000_000
LATE_NS = 6_000_000
JPEG, IMAGE = 'sensor_msgs/msg/CompressedImage', 'sensor_msgs/msg/Image'
INFO, CLOUD = 'sensor_msgs/msg/CameraInfo', 'sensor_msgs/msg/PointCloud2'


def facts_of(check):
    return {str(each.modality): describe_sensor(each) for each in check.sensors}


def hz(facts):
    return float(facts['rate'].removesuffix(' Hz'))


def model(height, width, frame, focal=None):
    K = np.array([[focal or width, 0, width / 2], [0, focal or width, height / 2], [0, 0, 1]])
    return CameraModel(width, height, K, frame_id=frame)


class Tape:
    """Writes pictures and sweeps that were recorded elsewhere, as drivers would send them."""

    def __init__(self, path):
        self.writer = BagWriter(path)
        self.types = self.writer.types
        self.known = set()

    def __enter__(self):
        self.writer.__enter__()
        return self

    def __exit__(self, *raised):
        return self.writer.__exit__(*raised)

    def put(self, topic, kind, message, stamp, late_ns=LATE_NS):
        if topic not in self.known:
            self.writer.add_topic(topic, kind, latched=topic == '/tf_static')
            self.known.add(topic)
        self.writer.write(topic, message, stamp + late_ns)

    def picture(self, sensor, image, encoding, stamp, focal=None):
        frame = f'{sensor}_optical'
        made = (
            from_ros.array_to_compressed(
                self.types, image, encoding, stamp, frame, compression='jpeg'
            )
            if image.dtype == np.uint8
            else from_ros.array_to_image(self.types, image, encoding, stamp, frame)
        )
        ending, kind = ('/compressed', JPEG) if image.dtype == np.uint8 else ('', IMAGE)
        info = from_ros.camera_to_message(self.types, model(*image.shape[:2], frame, focal), stamp)
        self.put(f'/{sensor}/camera_info', INFO, info, stamp)
        self.put(f'/{sensor}/image_rect{ending}', kind, made, stamp)

    def links(self, links):
        made = from_ros.transforms_to_message(self.types, links)
        self.put('/tf_static', 'tf2_msgs/msg/TFMessage', made, START)


def video(path):
    capture = cv2.VideoCapture(str(path))
    while capture.grab():
        yield np.ascontiguousarray(capture.retrieve()[1][:, :, ::-1])


def test_the_kitti_bag_has_the_rate_size_and_lens_of_kitti(sample_data):
    bag = sample_data / 'kitti' / 'bag'
    check = check_recording(bag)
    assert check.findings == ()
    facts = facts_of(check)
    assert set(facts) == {'camera', 'lidar'}
    assert [hz(each) for each in facts.values()] == [10.0, 10.0]
    calib = next((sample_data / 'kitti/frames').rglob('calib.txt')).read_text()
    focal = float(re.search('P2: (.*)', calib)[1].split()[0])
    assert f'focal length {focal:.0f} px' in facts['camera']['lens']
    assert 'no distortion' in facts['camera']['lens']
    assert '1242 x 375' in facts['camera']['image']
    assert facts['camera']['image'].startswith('rectified')


@pytest.mark.parametrize(
    ('name', 'count', 'seconds', 'size', 'encoding'),
    [
        ('test_events_1', 517, 2.08, '640 x 480', 'evt3'),
        ('test_events_2', 100, 0.99, '346 x 260', 'libcaer_cmp'),
        ('test_data_libcaer_rollover', 201, 1.99, '640 x 480', 'libcaer'),
    ],
)
def test_event_recordings_lack_geometry_and_nothing_else(
    sample_data, name, count, seconds, size, encoding
):
    check = check_recording(sample_data / 'events' / name)
    (event,) = facts_of(check).values()
    assert f'{count} messages' in event['topic']
    assert event['image'] == f'raw, {encoding}, {size}'
    assert check.duration_s == pytest.approx(seconds, abs=0.1)
    assert (event['gaps'], event['jitter']) == ('', '')  # packets come by size, not by a beat
    if encoding == 'evt3':
        assert hz(event) == pytest.approx(count / seconds, rel=0.05)
    (found,) = list_findings(check)
    reason = 'no camera geometry'
    if encoding == 'libcaer_cmp' and importlib.util.find_spec('event_camera_py') is None:
        reason = 'event_camera_py, which is not installed'
    assert reason in found.text


@pytest.mark.parametrize(
    ('name', 'rate', 'size'),
    [
        ('highway_25hz', 25.0, '960 x 540'),
        ('standing_car-detection', 12.5, '768 x 432'),
        ('standing_bottle-detection', 30.0, '640 x 360'),
    ],
)
def test_videos_of_healthy_cameras_have_no_finding(sample_data, tmp_path, name, rate, size):
    with Tape(tmp_path / 'bag') as tape:
        for k, image in enumerate(video(sample_data / f'health/{name}.mp4')):
            if k >= 8 * rate:
                break
            tape.picture('camera', image, 'rgb8', START + round(k * 1e9 / rate))
    check = check_recording(tmp_path / 'bag')
    assert check.findings == ()
    (camera,) = facts_of(check).values()
    assert hz(camera) == pytest.approx(rate, abs=0.1)
    assert size in camera['image']
    assert camera['gaps'].startswith('0 missing')


@pytest.mark.parametrize('name', ['possum', 'street'])
def test_counts_of_a_lepton_have_no_finding(sample_data, tmp_path, name):
    """Beside a camera that sees nothing: masks are drawn into its view."""
    counts = np.load(sample_data / f'health/lepton_{name}_9hz.npz')['frames']
    with Tape(tmp_path / 'bag') as tape:
        tape.links([('camera_optical', 'thermal_optical', START, np.eye(4))])
        view = model(120, 160, 'camera_optical')
        for k, image in enumerate(counts[:80]):
            stamp = START + round(k * 1e9 / 9)
            info = from_ros.camera_to_message(tape.types, view, stamp)
            tape.put('/camera/camera_info', INFO, info, stamp)
            tape.picture('thermal', image, 'mono16', stamp)
    check = check_recording(tmp_path / 'bag')
    assert check.findings == ()
    assert check.bundles == 80
    thermal = facts_of(check)['thermal']
    assert hz(thermal) == pytest.approx(9.0, abs=0.05)
    assert '160 x 120' in thermal['image']
    assert f'values up to {counts[:80].max()}' in thermal['image']


def test_sweeps_of_a_street_beside_a_camera_have_no_finding(sample_data, tmp_path):
    sweeps = np.load(sample_data / 'health/street_lidar_10hz.npz')
    images = video(sample_data / 'health/highway_25hz.mp4')
    T = np.eye(4)
    T[:3, :3] = [[0, -1, 0], [0, 0, -1], [1, 0, 0]]
    with Tape(tmp_path / 'bag') as tape:
        tape.links([('camera_optical', 'lidar', START, T)])
        for k, name in enumerate(sorted(sweeps.files)):
            stamp = START + k * 100_000_000
            tape.picture('camera', next(images), 'rgb8', stamp)
            points = np.zeros(len(sweeps[name]), [(axis, '<f4') for axis in 'xyz'])
            for axis, column in zip('xyz', sweeps[name].T, strict=True):
                points[axis] = column
            made = from_ros.cloud_to_message(tape.types, points, stamp, 'lidar')
            tape.put('/points', CLOUD, made, stamp)
    check = check_recording(tmp_path / 'bag')
    assert check.findings == ()
    facts = facts_of(check)
    assert hz(facts['lidar']) == pytest.approx(10.0, abs=0.05)
    assert '12 messages' in facts['lidar']['topic']


def test_opencalib_has_its_lens_its_rings_and_its_point_times(sample_data, tmp_path):
    """One exposure with its sweep, whose points have times; a still vehicle sees it again."""
    text = (sample_data / 'opencalib/calib.txt').read_text()
    read = {name: np.array(row.split(), float) for name, row in re.findall('(.): (.*)', text)}
    K, D = read['K'].reshape(3, 3), np.array([*read['D'], 0.0])
    T = np.eye(4)
    T[:3] = read['T'].reshape(3, 4)
    image = cv2.imread(str(sample_data / 'opencalib/calib.jpg'))[:, :, ::-1]
    held = np.load(sample_data / 'opencalib/points.npz')
    span = held['timestamp'] - held['timestamp'].min()
    layout = [(axis, '<f4') for axis in 'xyz']
    layout += [('intensity', '<f4'), ('ring', '<u2'), ('timestamp', '<f8')]
    points = np.zeros(len(span), layout)
    for axis, column in zip('xyz', held['xyz'].T, strict=True):
        points[axis] = column
    points['intensity'], points['ring'] = held['intensity'], held['ring']
    random = np.random.default_rng(0)
    with Tape(tmp_path / 'bag') as tape:
        tape.links([('camera_optical', 'lidar', START, T)])
        camera = CameraModel(1920, 1200, K, D, 'plumb_bob', frame_id='camera_optical')
        for k in range(6):
            stamp = START + k * 100_000_000
            noisy = np.clip(image + random.normal(0, 1, image.shape), 0, 255).astype(np.uint8)
            made = from_ros.array_to_compressed(
                tape.types, noisy, 'rgb8', stamp, 'camera_optical', compression='jpeg'
            )
            info = from_ros.camera_to_message(tape.types, camera, stamp)
            tape.put('/camera/camera_info', INFO, info, stamp)
            tape.put('/camera/image_raw/compressed', JPEG, made, stamp)
            points['timestamp'] = 1e-9 * stamp + span
            cloud = from_ros.cloud_to_message(tape.types, points, stamp, 'lidar')
            tape.put('/points', CLOUD, cloud, stamp, late_ns=110_000_000)
    # One exposure is too little to tell whether it is rectified: that is said, and raw is right.
    (doubt,) = check_recording(tmp_path / 'bag').findings
    assert (doubt.code, doubt.out) == ('check.choice', False)
    assert 'taken as raw by its name' in doubt.text
    check = check_recording(tmp_path / 'bag', rectified={Modality.CAMERA: False})
    assert check.findings == ()
    facts = facts_of(check)
    assert '1920 x 1200' in facts['camera']['image']
    assert facts['camera']['image'].startswith('raw')
    assert facts['camera']['lens'].startswith('plumb_bob, 5 coefficients, focal length 2153 px')
    assert 'ring' in facts['lidar']['image']
    assert 'timestamp' in facts['lidar']['stamp']
    share = float(facts['lidar']['in the image'].split(' %')[0]) / 100
    rotated = held['xyz'] @ T[:3, :3].T + T[:3, 3]
    ahead = rotated[rotated[:, 2] > 0]
    pixels, _ = cv2.projectPoints(ahead.astype(np.float64), np.zeros(3), np.zeros(3), K, D)
    limit = np.tan(np.arctan([[1920 / 2 / K[0, 0], 1200 / 2 / K[1, 1]]]) + 0.05)
    near = (np.abs(ahead[:, :2] / ahead[:, 2:]) < limit).all(axis=1)  # the polynomial folds back
    inside = near & ((pixels[:, 0] >= -0.5) & (pixels[:, 0] < [1919.5, 1199.5])).all(axis=1)
    assert share == pytest.approx(inside.sum() / len(rotated), abs=0.002)


def test_pairs_of_colour_and_thermal_have_no_finding(sample_data, tmp_path):
    folder = sample_data / 'rgbt/msrs'
    names = sorted(path.name for path in (folder / 'vi').glob('*.png'))
    with Tape(tmp_path / 'bag') as tape:
        tape.links([('camera_optical', 'thermal_optical', START, np.eye(4))])
        for k, name in enumerate(names):
            stamp = START + k * 1_000_000_000
            colour = cv2.imread(str(folder / 'vi' / name))[:, :, ::-1]
            heat = cv2.imread(str(folder / 'ir' / name), cv2.IMREAD_GRAYSCALE)
            tape.picture('camera', np.ascontiguousarray(colour), 'rgb8', stamp)
            tape.picture('thermal', heat, 'mono8', stamp)
    check = check_recording(tmp_path / 'bag')
    assert check.findings == ()
    facts = facts_of(check)
    for each in ('camera', 'thermal'):
        assert '640 x 480' in facts[each]['image']
        assert hz(facts[each]) == 1.0
        assert facts[each]['used'] == f'in {len(names)} of {len(names)} frames'


def test_frames_of_camvid_have_no_finding(sample_data, tmp_path):
    paths = sorted((sample_data / 'camvid/val').glob('*.png'))[:30]
    with Tape(tmp_path / 'bag') as tape:
        for k, path in enumerate(paths):
            image = np.ascontiguousarray(cv2.imread(str(path))[:, :, ::-1])
            tape.picture('camera', image, 'rgb8', START + k * 1_000_000_000)
    check = check_recording(tmp_path / 'bag')
    assert check.findings == ()
    (camera,) = facts_of(check).values()
    assert (hz(camera), '480 x 360' in camera['image']) == (1.0, True)


@pytest.mark.slow
@pytest.mark.parametrize('condition', ['day', 'night', 'fog', 'rain'])
def test_a_simulated_drive_is_what_its_rig_says(tmp_path, condition):
    """`config/rig.example.yaml` holds the sensors of the default drive."""
    bag = tmp_path / 'drive'
    simulated = ['simulate', str(bag), '--duration', '2', '--condition', condition, '--seed', '5']
    assert cli.main([*simulated, '--workers', '1']) == 0
    check = check_recording(bag)
    assert check.findings == ()
    assert check.bundles == 20
    assert not check.dropped
    facts = list_sensors(check)
    assert {name: hz(each) for name, each in facts.items()} == {
        'camera': 10.0, 'thermal': 10.0, 'event': 100.0, 'lidar': 10.0,
    }  # fmt: skip
    for name, image, lens in (
        ('camera', 'rectified, rgb8, 640 x 400', 'no distortion, focal length 420 px'),
        ('thermal', 'rectified, mono16, 320 x 256', 'no distortion, focal length 190 px'),
        ('event', 'raw, evt3, 320 x 200', 'plumb_bob, 5 coefficients, focal length 200 px'),
    ):
        assert facts[name]['image'].startswith(image)
        assert facts[name]['lens'].startswith(lens)
    assert {each['used'] for each in facts.values()} == {'in 20 of 20 frames'}
