"""Whether images of a recording are rectified is told from them, whatever their name says."""

import cv2
import numpy as np
import pytest
from rich.console import Console

from sam_ad_perception.bags.bundles import BagFeed
from sam_ad_perception.bags.camera_views import choose_views
from sam_ad_perception.bags.checking.recording_check import check_recording
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.topics import choose_topics
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.commands.display.labelling import print_views
from sam_ad_perception.core.messages import from_ros as cv
from sam_ad_perception.core.sensors import CameraModel, Modality, SensorBundle

START, PERIOD, FRAMES = 1_700_000_000_000_000_000, 100_000_000, 10
SIZE = (300, 480)
K = np.array([[380.0, 0, 238], [0, 380, 152], [0, 0, 1]])
D = np.array([-0.32, 0.1, 0, 0, 0])


def image_of(rng, D):
    """Straight lines of the world as a lens draws them; without lines where D is None."""
    image = rng.integers(60, 200, (*SIZE, 3)).astype(np.uint8)
    if D is None:
        return image
    image[:] = 110
    for _ in range(40):
        middle, angle = rng.uniform((-0.58, -0.36), (0.58, 0.36)), rng.uniform(0, np.pi)
        xy = middle + np.linspace(-0.3, 0.3, 60)[:, None] * [np.cos(angle), np.sin(angle)]
        rays = np.column_stack([xy, np.ones(len(xy))])
        uv, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), K, D)
        colour = tuple(int(c) for c in rng.integers(0, 255, 3))
        points = np.rint(uv.reshape(-1, 2) * 16).astype(np.int32)
        cv2.polylines(image, [points], False, colour, 3, cv2.LINE_AA, shift=4)
    return cv2.GaussianBlur(image, (0, 0), 0.8)


@pytest.fixture
def write(tmp_path, rng):
    def make(topic, is_of, of_info=D):
        camera = CameraModel(SIZE[1], SIZE[0], K, of_info, frame_id='camera_optical')
        with BagWriter(tmp_path / 'bag') as writer:
            writer.add_topic(f'/cam/{topic}', 'sensor_msgs/msg/Image')
            writer.add_topic('/cam/camera_info', 'sensor_msgs/msg/CameraInfo')
            for k in range(FRAMES):
                stamp = START + k * PERIOD
                info = cv.camera_to_message(writer.types, camera, stamp)
                info.p = np.hstack([K, np.zeros((3, 1))]).reshape(-1)
                writer.write('/cam/camera_info', info, stamp + 1_000_000)
                image = image_of(rng, is_of)
                message = cv.array_to_image(writer.types, image, 'rgb8', stamp, 'camera_optical')
                writer.write(f'/cam/{topic}', message, stamp + 2_000_000)
        return tmp_path / 'bag'

    return make


@pytest.mark.parametrize('topic', ['image_raw', 'image_rect'])
@pytest.mark.parametrize('is_rectified', [True, False])
def test_the_images_and_not_the_name_tell_the_reading(write, topic, is_rectified):
    bag = write(topic, np.zeros(5) if is_rectified else D)
    named = topic == 'image_rect'
    with BagReader(bag) as reader:
        mapping = choose_topics(reader)
        camera = mapping.sensors[Modality.CAMERA]
        feed = BagFeed(reader, mapping)
        bundles = [r for _, due in feed.read() for r in due if isinstance(r, SensorBundle)]
        overruled = choose_topics(reader, rectified={Modality.CAMERA: not is_rectified})
        (view,) = choose_views(reader).mappings.values()
    assert camera.rectified is is_rectified
    assert view == mapping
    assert overruled.sensors[Modality.CAMERA].rectified is not is_rectified
    assert overruled.doubts() == []
    assert len(bundles) == FRAMES
    assert all((each.camera.D.size == 0) is is_rectified for each in bundles)
    found = {(f.finding.code, f.finding.sensor, f.finding.out) for f in feed.checks.findings()}
    checked = {(f.code, f.sensor) for f in check_recording(bag).findings}
    if named == is_rectified:
        assert found == set()
        assert mapping.doubts() == []
        assert ('geometry.rectified', 'camera') not in checked
        return
    assert found == {('geometry.rectified', 'camera', False)}
    assert ('geometry.rectified', 'camera') in checked
    (doubt,) = mapping.doubts()
    word = 'are rectified' if is_rectified else 'are not rectified'
    assert f'its images {word}' in doubt
    assert f'--rectified camera:={str(named).lower()} overrules' in doubt
    assert word in bundles[-1].notes[Modality.CAMERA]


@pytest.mark.parametrize('topic', ['image_raw', 'image_rect'])
def test_images_that_do_not_tell_keep_the_reading_of_their_name_with_a_word(
    write, topic, tmp_path
):
    with BagReader(write(topic, None)) as reader:
        views = choose_views(reader)
        (mapping,) = views.mappings.values()
        feed = BagFeed(reader, mapping)
        assert sum(isinstance(r, SensorBundle) for _, due in feed.read() for r in due) == FRAMES
    assert mapping.sensors[Modality.CAMERA].rectified is (topic == 'image_rect')
    assert feed.checks.findings() == ()
    console = Console(record=True, width=300, file=(tmp_path / 'told').open('w'))
    print_views(console, tmp_path / 'bag', views)
    text = console.export_text()
    word = 'rectified' if topic == 'image_rect' else 'raw'
    assert f'its images do not tell (no edge that would tell): taken as {word}' in text
    assert '--rectified camera:=true or false' in text


def test_no_image_is_looked_at_where_both_readings_agree(write):
    with BagReader(write('image_raw', np.zeros(5), of_info=np.zeros(5))) as reader:
        mapping = choose_topics(reader)
    camera = mapping.sensors[Modality.CAMERA]
    assert (camera.rectified, camera.reading, camera.doubt) == (False, '', '')
