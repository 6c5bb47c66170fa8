"""Recordings whose time begins anew, and single damaged stamps: each part is judged on its own."""

from collections import Counter

import numpy as np
import pytest

from sam_ad_perception.bags.bundles import BagFeed
from sam_ad_perception.bags.labelling.recording import label_bag
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.topics import guess_topics
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.messages import from_ros as cv
from sam_ad_perception.core.sensors import CameraModel, Modality, SensorBundle

S, MS, START, PERIOD, FRAMES = 1_000_000_000, 1_000_000, 1_700_000_000_000_000_000, 100_000_000, 12
DAY = 86_400 * S
K = np.array([[50.0, 0, 31.5], [0, 50, 23.5], [0, 0, 1]])
T_CAMERA_LIDAR = np.array([[0.0, -1, 0, 0], [0, 0, -1, -0.2], [1, 0, 0, 0], [0, 0, 0, 1]])
KINDS = {
    '/camera/image_rect': 'sensor_msgs/msg/Image',
    '/camera/camera_info': 'sensor_msgs/msg/CameraInfo',
    '/points': 'sensor_msgs/msg/PointCloud2',
}


def run(types, rng, stamp_ns, received_ns, lidar_ns=0, odd=None):
    """One run: topic, message, when it was recorded; `odd` shifts the stamp of one message."""
    model = CameraModel(64, 48, K, frame_id='camera_optical')
    for k in range(FRAMES):
        stamp, received = stamp_ns + k * PERIOD, received_ns + k * PERIOD + 8 * MS
        off = {topic: (odd or {}).get((topic, k), 0) for topic in KINDS}
        yield '/camera/camera_info', cv.camera_to_message(types, model, stamp), received - 2 * MS
        points = np.zeros(400, [(n, '<f4') for n in ('x', 'y', 'z', 'intensity')])
        for axis, (low, high) in zip('xyz', ((4, 30), (-8, 8), (-2, 2)), strict=True):
            points[axis] = rng.uniform(low, high, 400)
        points['x'][0] = 40 + k
        cloud = cv.cloud_to_message(types, points, stamp + lidar_ns + off['/points'], 'lidar')
        yield '/points', cloud, received - MS
        rgb = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
        own = stamp + off['/camera/image_rect']
        image = cv.array_to_image(types, rgb, 'rgb8', own, 'camera_optical')
        yield '/camera/image_rect', image, received


@pytest.fixture
def write(tmp_path, rng):
    def make(*runs):
        with BagWriter(tmp_path / 'bag') as writer:
            writer.add_topic('/tf_static', 'tf2_msgs/msg/TFMessage', latched=True)
            links = [('camera_optical', 'lidar', START, T_CAMERA_LIDAR)]
            fixed = cv.transforms_to_message(writer.types, links)
            writer.write('/tf_static', fixed, START - S)
            for topic, kind in KINDS.items():
                writer.add_topic(topic, kind)
            for each in runs:
                for topic, message, received in run(writer.types, rng, **each):
                    writer.write(topic, message, received)
        return tmp_path / 'bag'

    return make


def bundles_of(bag):
    """What each reference frame got: sensors, and the number of the sweep; and the feed."""
    with BagReader(bag) as reader:
        feed = BagFeed(reader, guess_topics(reader.topics))
        results = [each for _, due in feed.read() for each in due]
    made = [each for each in results if isinstance(each, SensorBundle)]
    sweeps = []
    for each in made:
        frame = each.frames.get(Modality.LIDAR)
        sweeps.append(None if frame is None else round(float(frame.data.points[:, 0].max())) - 40)
    return made, sweeps, feed


@pytest.mark.parametrize(
    ('stamp_ns', 'received_ns'),
    [(START, 5 * S), (START - 3600 * S, 5 * S), (START + DAY, 5 * S), (START + DAY, DAY)],
    ids=['played in a loop', 'an earlier drive behind', 'a later drive behind', 'a day between'],
)
def test_all_frames_of_both_runs_get_their_own_sweep(write, stamp_ns, received_ns):
    first = {'stamp_ns': START, 'received_ns': START}
    again = {'stamp_ns': stamp_ns, 'received_ns': START + received_ns}
    made, sweeps, feed = bundles_of(write(first, again))
    assert [each.stamp_ns for each in made] == [
        start + k * PERIOD for start in (START, stamp_ns) for k in range(FRAMES)
    ]
    assert sweeps == 2 * list(range(FRAMES))
    assert feed.checks.findings() == ()
    assert [note for note in feed.notes if 'anew' in note] == [
        'time begins anew 1 times: parts are read one by one'
    ]


@pytest.mark.parametrize('wrong', [0, 1])
@pytest.mark.parametrize('back_ns', [0, DAY])
def test_a_clock_that_is_wrong_in_one_run_costs_that_run(write, wrong, back_ns):
    runs = [
        {'stamp_ns': START, 'received_ns': START},
        {'stamp_ns': START + back_ns, 'received_ns': START + max(back_ns, 5 * S)},
    ]
    runs[wrong]['lidar_ns'] = 37 * S
    used = [wrong != 0, wrong != 1]
    if not back_ns:  # one recording twice, so that the clock is wrong in both
        runs = [runs[wrong] | {'received_ns': START + k * 5 * S} for k in range(2)]
        used = [False, False]
    made, sweeps, feed = bundles_of(write(*runs))
    assert sweeps == [k if right else None for right in used for k in range(FRAMES)]
    assert len(made) == 2 * FRAMES
    assert {f.finding.code for f in feed.checks.findings()} == {'clock.ahead'}


def test_one_clock_that_is_set_is_no_restart(write):
    first = {'stamp_ns': START, 'received_ns': START}
    again = dict.fromkeys(('stamp_ns', 'received_ns'), START + FRAMES * PERIOD)
    _, _, feed = bundles_of(write(first, again | {'lidar_ns': -900 * S}))
    assert not [note for note in feed.notes if 'anew' in note]
    assert {f.finding.code for f in feed.checks.findings()} == {'clock.step'}


@pytest.mark.parametrize('topic', ['/points', '/camera/image_rect'])
@pytest.mark.parametrize('off_ns', [4 * S, -4 * S, -START])
@pytest.mark.parametrize('at', [0, 6])
def test_a_damaged_stamp_makes_no_mask_of_its_own(write, topic, off_ns, at):
    """The message is left out and counted; all other frames keep their sweeps."""
    odd = {(topic, at): off_ns if off_ns != -START else -START - at * PERIOD}
    made, sweeps, feed = bundles_of(write({'stamp_ns': START, 'received_ns': START, 'odd': odd}))
    right = [START + k * PERIOD for k in range(FRAMES)]
    assert set(right) - {START + at * PERIOD} <= {each.stamp_ns for each in made} <= set(right)
    for each, sweep in zip(made, sweeps, strict=True):
        number = (each.stamp_ns - START) // PERIOD
        if topic == '/camera/image_rect' or number != at:
            assert sweep == number
    found = {(f.finding.code, f.finding.sensor, f.count) for f in feed.checks.findings()}
    assert found == {('clock.stamp', 'lidar' if topic == '/points' else 'camera', 1)}
    assert feed.unreadable[topic].count == 1


def test_a_loop_is_labelled_whole(write, segmenter, tmp_path):
    runs = [{'stamp_ns': START, 'received_ns': START + k * 5 * S} for k in range(3)]
    report = label_bag(write(*runs), tmp_path / 'out', segmenter, LABEL_SPACES['cityscapes'])
    assert report.frames == 3 * FRAMES
    with BagReader(tmp_path / 'out') as reader:
        masks = [(m.received_ns, m.topic) for m in reader.messages(['/semantic/image'])]
        info = list(reader.messages(['/camera/image_rect']))
    assert len(masks) == len(info) == 3 * FRAMES
    # Each lies beside the image that it was made of, in the run that it belongs to.
    assert [a for a, _ in masks] == [m.received_ns for m in info]
    assert Counter(topic for _, topic in masks) == {'/semantic/image': 3 * FRAMES}
