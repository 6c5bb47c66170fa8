"""Video in recordings (h264, h265, av1, vp9): the one seam to PyAV, which is optional."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.console.install_advice import install_advice
from sam_ad_perception.core.images.lazy_image import check_megapixels
from sam_ad_perception.core.messages.compressed_images import video_codec
from sam_ad_perception.core.messages.from_ros import frame_of, stamp_of, stamp_to_ns
from sam_ad_perception.core.sensors import Modality, SensorFrame

INSTALL_VIDEO = install_advice('video')
_CODECS = ('h264', 'hevc', 'av1', 'vp8', 'vp9', 'mjpeg')
_NAMES = {'h265': 'hevc', 'x264': 'h264', 'x265': 'hevc', 'svtav1': 'av1', 'aom': 'av1'}


_AV1_DECODERS = ('libdav1d', 'libaom-av1')


class VideoError(ValueError):
    """A message of video gives no picture."""


def codec_of(encoding: str) -> str:
    """Find the codec that an encoder's name stands for.

    Args:
        encoding: For example `h264`, `libx265`, `hevc_nvenc` or `libx264;yuv420p;bgr8`.

    Returns:
        FFmpeg's name of the codec.

    Raises:
        VideoError: It is none that is known here.
    """
    name = encoding.partition(';')[0].strip().lower().replace('.', '')
    for known, codec in {**{c: c for c in _CODECS}, **_NAMES}.items():
        if known in name:
            return codec
    raise VideoError(f'video encoding {encoding!r} is none of {list(_CODECS)}')


class VideoDecoder:
    """Decodes one stream of video, message by message.

    Pictures before the first key frame, and those between a damaged message and the next key
    frame, would be shown as garbage: they are refused.

    Args:
        codec: See `codec_of`.

    Raises:
        VideoError: PyAV is not installed.
    """

    def __init__(self, codec: str) -> None:
        try:
            import av
        except ImportError as err:
            raise VideoError(f'video needs PyAV: {INSTALL_VIDEO}') from err
        self.codec = codec
        self._av: Any = av
        self._context: Any = None
        self._in_step = False

    def decode(self, data: bytes, stamp_ns: int) -> list[tuple[int, NDArray[np.uint8]]]:
        """Decode a message.

        Args:
            data: One picture as the encoder packed it.
            stamp_ns: Its stamp, nanoseconds.

        Returns:
            Stamp and (H, W, 3) uint8 RGB of each picture that is complete now; none while the
            decoder waits for more.

        Raises:
            VideoError: The message is damaged, or no key frame came yet.
        """
        if self._context is None:
            self._context = self._av.CodecContext.create(self._decoder(), 'r')
            self._context.thread_count = 1  # more would hold pictures back
            self._context.options = {'flags': 'low_delay'}
        packet = self._av.Packet(data)
        packet.pts = stamp_ns
        try:
            frames = self._context.decode(packet)
        except self._av.error.FFmpegError as err:
            self._context, self._in_step = None, False
            raise VideoError(f'video ({self.codec}): {err}; waiting for a key frame') from err
        pictures = []
        for frame in frames:
            if frame.is_corrupt:
                self._in_step = False
            self._in_step = self._in_step or (bool(frame.key_frame) and not frame.is_corrupt)
            if self._in_step:
                stamp = stamp_ns if frame.pts is None else int(frame.pts)
                pictures.append((stamp, frame.to_ndarray(format='rgb24')))
        if frames and not pictures:
            raise VideoError(f'video ({self.codec}): no key frame came yet')
        return pictures

    def _decoder(self) -> str:
        """The decoder that works in software; that of av1 goes by another name."""
        if self.codec != 'av1':
            return self.codec
        there = [name for name in _AV1_DECODERS if name in self._av.codecs_available]
        if not there:
            raise VideoError(f'this PyAV decodes no av1: it has none of {list(_AV1_DECODERS)}')
        return there[0]


def codec_of_message(message: Any) -> str:
    """Find the codec of a message of video.

    Args:
        message: `FFMPEGPacket`, `CompressedVideo`, or `sensor_msgs/CompressedImage`.

    Returns:
        FFmpeg's name of the codec; '' for a message that is no video.

    Raises:
        VideoError: It is video of a codec that is not known here.
    """
    if hasattr(message, 'timestamp') and hasattr(message, 'format'):  # CompressedVideo
        return codec_of(str(message.format))
    if hasattr(message, 'pts') and hasattr(message, 'encoding'):  # FFMPEGPacket
        return codec_of(str(message.encoding))
    return video_codec(str(getattr(message, 'format', '')))


class VideoTopic:
    """Reads the messages of one topic of video as frames of a sensor, in their order.

    Args:
        max_megapixels: A larger picture is refused; None for any size.
    """

    def __init__(self, max_megapixels: float | None = None) -> None:
        self._max_megapixels = max_megapixels
        self._decoder: VideoDecoder | None = None

    def read(self, message: Any, modality: Modality) -> list[SensorFrame]:
        """Read a message.

        Args:
            message: See `codec_of_message`.
            modality: The sensor that its topic is.

        Returns:
            The pictures that are complete now: colour, or grey of a thermal camera.

        Raises:
            ValueError: The message is damaged, no key frame came yet, or PyAV is missing.
        """
        if not modality.record.takes_video:
            raise VideoError(f'{modality} cannot be video')
        if hasattr(message, 'timestamp'):
            stamp_ns, frame_id = stamp_to_ns(message.timestamp), str(message.frame_id)
        else:
            stamp_ns, frame_id = stamp_of(message), frame_of(message)
        codec = codec_of_message(message)
        if self._decoder is None or self._decoder.codec != codec:
            self._decoder = VideoDecoder(codec)
        frames = []
        for shown_ns, rgb in self._decoder.decode(bytes(message.data), stamp_ns):
            if self._max_megapixels is not None:
                check_megapixels('image', (rgb.shape[0], rgb.shape[1]), self._max_megapixels)
            pixels = modality.record.call('decode', rgb, 'rgb8')
            frames.append(SensorFrame(modality, shown_ns, frame_id.lstrip('/'), pixels))
        return frames
