"""`sam_ad offsets` tells of clocks what the node, `label` and `check` tell."""

import numpy as np
import pytest
import yaml

from sam_ad_perception.bags.bundles import BagFeed
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.topics import guess_topics
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.commands.offsets import main
from sam_ad_perception.core.messages import from_ros as cv
from sam_ad_perception.core.sensors import CameraModel

MS, START, PERIOD, FRAMES = 1_000_000, 1_700_000_000_000_000_000, 200_000_000, 160
K = np.array([[50.0, 0, 31.5], [0, 50, 23.5], [0, 0, 1]])


@pytest.fixture
def write(tmp_path, rng):
    def make(shift):
        """A standing drive; `shift` gives by how much the lidar's stamp is off at its time."""
        with BagWriter(tmp_path / 'bag') as writer:
            writer.add_topic('/camera/image_rect', 'sensor_msgs/msg/Image')
            writer.add_topic('/camera/camera_info', 'sensor_msgs/msg/CameraInfo')
            writer.add_topic('/points', 'sensor_msgs/msg/PointCloud2')
            model = CameraModel(64, 48, K, frame_id='camera_optical')
            for k in range(FRAMES):
                stamp, received = START + k * PERIOD, START + k * PERIOD + 8 * MS
                info = cv.camera_to_message(writer.types, model, stamp)
                writer.write('/camera/camera_info', info, received - MS)
                points = np.zeros(300, [(n, '<f4') for n in ('x', 'y', 'z', 'intensity')])
                for axis, (low, high) in zip('xyz', ((4, 30), (-8, 8), (-2, 2)), strict=True):
                    points[axis] = rng.uniform(low, high, 300)
                own = stamp + round(shift(k * PERIOD))
                writer.write(
                    '/points', cv.cloud_to_message(writer.types, points, own, 'lidar'), received
                )
                rgb = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
                image = cv.array_to_image(writer.types, rgb, 'rgb8', stamp, 'camera_optical')
                writer.write('/camera/image_rect', image, received)
        return tmp_path / 'bag'

    return make


def told_by_label(bag):
    with BagReader(bag) as reader:
        feed = BagFeed(reader, guess_topics(reader.topics))
        return {str(m): f for m, f in feed.checks.clock_findings.items()}


@pytest.mark.parametrize(
    ('shift', 'code', 'offset_s'),
    [
        (lambda t: 37e9, 'clock.ahead', 37.0),
        (lambda t: 2e9, 'clock.ahead', 2.0),
        (lambda t: -7200e9, 'clock.behind', -7200.0),
        (lambda t: 3e-3 * t, 'clock.drift', None),
        (lambda t: 0.0, '', None),
    ],
    ids=['TAI', 'ahead', 'time zone', 'drift', 'right'],
)
def test_clocks_are_judged_as_in_label(write, shift, code, offset_s, capsys):
    bag = write(shift)
    assert main([str(bag)]) == 1  # noise does not move: nothing but arrivals tells
    out, err = capsys.readouterr()
    finding = told_by_label(bag).get('lidar')
    told = yaml.safe_load(out)['/**']['ros__parameters']['bundler']['sync'] or {}
    if not code:
        assert finding is None
        assert told == {}
        return
    assert finding.code == code
    if offset_s is None:
        assert '3000 ppm' in out
        assert 'plausibility.clock: correct' in out
        assert told == {}
    else:
        assert finding.sentence in ' '.join(err.split()) or finding.text in out
        assert told['lidar']['offset_s'] == pytest.approx(offset_s, abs=0.02)
