"""Video in recordings, encoded here by FFmpeg itself."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from sam_ad_perception.bags.formats.video import (
    VideoDecoder,
    VideoError,
    codec_of,
    codec_of_message,
)
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.sensor_messages import MessageDecoder
from sam_ad_perception.bags.topics import choose_topics
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.core.messages.from_ros import make, make_header, ns_to_stamp
from sam_ad_perception.core.sensors import Modality

av = pytest.importorskip('av')
START, PERIOD = 1_700_000_000_000_000_000, 100_000_000


def pictures(count=12):
    v, u = np.mgrid[:96, :128]
    return [np.stack(((u + 9 * k) % 256, v + 20, u), 2).astype(np.uint8) for k in range(count)]


def encode(codec, images, key_every=4):
    encoders = {'h264': 'libx264', 'hevc': 'libx265', 'av1': 'libsvtav1', 'vp9': 'libvpx-vp9'}
    try:
        context = av.CodecContext.create(encoders[codec], 'w')
    except Exception:
        pytest.skip(f'this PyAV has no encoder for {codec}')
    context.width, context.height, context.pix_fmt = 128, 96, 'yuv420p'
    context.time_base, context.gop_size, context.max_b_frames = Fraction(1, 10), key_every, 0
    context.options = {
        'h264': {'tune': 'zerolatency', 'crf': '10'},
        'hevc': {'x265-params': f'keyint={key_every}:bframes=0:log-level=none', 'crf': '10'},
        'av1': {'svtav1-params': 'pred-struct=1:lookahead=0', 'crf': '15', 'preset': '10'},
        'vp9': {'lag-in-frames': '0', 'crf': '10'},
    }[codec]
    packets = []
    for k, rgb in enumerate(images):
        frame = av.VideoFrame.from_ndarray(rgb, format='rgb24')
        frame.pts = k
        packets += [bytes(p) for p in context.encode(frame)]
    return packets + [bytes(p) for p in context.encode(None)]


@pytest.mark.parametrize('codec', ['h264', 'hevc', 'av1', 'vp9'])
def test_every_codec_gives_back_the_pictures(codec):
    images = pictures()
    packets = encode(codec, images)
    decoder = VideoDecoder(codec)
    got = [pair for k, data in enumerate(packets) for pair in decoder.decode(data, START + k)]
    assert [stamp - START for stamp, _ in got] == list(range(len(got)))
    assert len(got) >= len(images) - 1
    for (_, rgb), image in zip(got, images, strict=False):
        assert np.abs(rgb.astype(int) - image).mean() < 12


def test_pictures_before_a_key_frame_are_refused():
    packets = encode('h264', pictures(), key_every=4)
    decoder = VideoDecoder('h264')
    outcomes = []
    for k, data in enumerate(packets[1:]):  # the first key frame was not recorded
        try:
            outcomes.append(len(decoder.decode(data, k)))
        except VideoError:
            outcomes.append(-1)
    assert max(outcomes[:3]) < 1
    assert outcomes[3:] == [1] * len(outcomes[3:])


@pytest.mark.parametrize(
    ('encoding', 'codec'),
    [
        ('libx264;yuv420p;bgr8', 'h264'),
        ('hevc_nvenc', 'hevc'),
        ('h265', 'hevc'),
        ('libsvtav1', 'av1'),
        ('H.264', 'h264'),
    ],
)
def test_encoders_are_known_by_their_codec(encoding, codec):
    assert codec_of(encoding) == codec
    with pytest.raises(VideoError, match="'theora' is none of"):
        codec_of('theora')


@pytest.mark.parametrize('kind', ['ffmpeg', 'foxglove', 'compressed'])
def test_a_recorded_video_is_a_camera(tmp_path, kind):
    types = {
        'ffmpeg': 'ffmpeg_image_transport_msgs/msg/FFMPEGPacket',
        'foxglove': 'foxglove_msgs/msg/CompressedVideo',
        'compressed': 'sensor_msgs/msg/CompressedImage',
    }
    images = pictures()
    with BagWriter(tmp_path / 'bag') as writer:
        writer.add_topic('/cam/video', types[kind])
        for k, data in enumerate(encode('h264', images)):
            stamp = START + k * PERIOD
            content = np.frombuffer(data, np.uint8)
            header = make_header(writer.types, stamp, 'cam')
            fields = {
                'ffmpeg': {
                    'header': header,
                    'width': 128,
                    'height': 96,
                    'encoding': 'libx264;yuv420p',
                    'pts': k,
                    'flags': 0,
                    'is_bigendian': False,
                    'data': content,
                },
                'foxglove': {
                    'timestamp': ns_to_stamp(writer.types, stamp),
                    'frame_id': 'cam',
                    'data': content,
                    'format': 'h264',
                },
                'compressed': {'header': header, 'format': 'h264', 'data': content},
            }[kind]
            writer.write('/cam/video', make(writer.types, types[kind], **fields), stamp)
    with BagReader(tmp_path / 'bag') as reader:
        assert choose_topics(reader).sensors[Modality.CAMERA].data == '/cam/video'
        decoder = MessageDecoder(reader)
        frames = [f for m in reader.messages() for f in decoder.decode(m, Modality.CAMERA)]
    assert [f.stamp_ns for f in frames] == [START + k * PERIOD for k in range(len(images))]
    assert {f.frame_id for f in frames} == {'cam'}
    assert np.abs(frames[5].data.astype(int) - images[5]).mean() < 12


@pytest.mark.parametrize(
    'fields',
    [
        {'timestamp': 7, 'ranges': [1.0]},
        {'pts': 7, 'data': b''},
        {'format': 'jpeg', 'data': b''},
        {'encoding': 'h264', 'data': b''},
    ],
)
def test_a_message_of_another_kind_is_no_video(fields):
    assert codec_of_message(SimpleNamespace(**fields)) == ''
