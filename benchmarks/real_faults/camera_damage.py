"""Plain damage to colour pictures: dirt, frozen parts, wrong rows, wrong order, lost packets.

Pictures are (H, W, 3) uint8 RGB. Functions of one picture take `(image, severity, rng)`, those of
a stream `(before, frames, severity, rng)`, see `faults`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Frames = Sequence[Image]
Rng = np.random.Generator


def _level(severity: int, *levels: Any) -> Any:
    return levels[severity - 1]


def clip(image: NDArray[Any]) -> Image:
    """Round to grey levels of 8 bits."""
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


# Dirt on the lens


def _blobs(shape: tuple[int, ...], share: float, rng: Rng) -> NDArray[np.float32]:
    """A smooth random cover of a share of the view, 0 to 1."""
    coarse = rng.standard_normal((6, 9)).astype(np.float32)
    field = cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    limit = np.quantile(field, 1 - share)
    spread = 0.15 * float(field.std())
    return np.clip((field - limit) / spread + 0.5, 0, 1).astype(np.float32)


def mud(image: Image, severity: int, rng: Rng) -> Image:
    """Brown mud over 25, 45, 65 % with soft edges; light still comes through it."""
    cover = _blobs(image.shape, _level(severity, 0.25, 0.45, 0.65), rng)[..., None]
    behind = cv2.GaussianBlur(image, (0, 0), image.shape[1] / 25)
    dirt = 0.75 * np.array([70.0, 55.0, 40.0]) + 0.25 * behind
    return clip(cover * dirt + (1 - cover) * image)


def tape(image: Image, severity: int, rng: Rng) -> Image:
    """Grey tape with grain over the left 20, 40, 70 % of the view."""
    out = image.copy()
    width = round(image.shape[1] * _level(severity, 0.2, 0.4, 0.7))
    out[:, :width] = clip(rng.normal(110, 3, (image.shape[0], width, 3)))
    return out


def drops(image: Image, severity: int, rng: Rng) -> Image:
    """Water drops: discs that show the scene blurred, upside down and brighter."""
    out = image.astype(np.float32)
    turned = cv2.GaussianBlur(image[::-1, ::-1], (0, 0), 6).astype(np.float32)
    height, width = image.shape[:2]
    for _ in range(_level(severity, 15, 40, 90)):
        mask = np.zeros((height, width), np.float32)
        at = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.circle(mask, at, int(rng.uniform(0.015, 0.05) * width), 1.0, -1)
        mask = cv2.GaussianBlur(mask, (0, 0), 2)[..., None]
        out = mask * (0.9 * turned + 20) + (1 - mask) * out
    return clip(out)


# Parts and whole frames that stay as they were


def _frozen_region(name: str, shape: tuple[int, ...], severity: int) -> tuple[slice, slice]:
    height, width = shape[:2]
    if name == 'lower':
        share = _level(severity, 0.6, 0.75, 0.9)
        return slice(height - round(share * height), height), slice(0, width)
    share = _level(severity, 0.25, 0.5, 0.75)
    return slice(0, height), slice(0, round(share * width))


def freeze_lower(before: Frames, frames: Frames, severity: int, rng: Rng) -> list[Image]:
    """The lower 60, 75, 90 % stays as it was: the encoder's slices are not renewed."""
    return _freeze_part('lower', before, frames, severity)


def freeze_left(before: Frames, frames: Frames, severity: int, rng: Rng) -> list[Image]:
    """The left 25, 50, 75 % stays as it was."""
    return _freeze_part('left', before, frames, severity)


def _freeze_part(name: str, before: Frames, frames: Frames, severity: int) -> list[Image]:
    held = before[-1] if before else frames[0]
    region = _frozen_region(name, held.shape, severity)
    out = [frame.copy() for frame in frames]
    for frame in out:
        frame[region] = held[region]
    return out


def freeze(before: Frames, frames: Frames, severity: int, rng: Rng) -> list[Image]:
    """The same frame again and again."""
    held = before[-1] if before else frames[0]
    return [held.copy() for _ in frames]


def freeze_with_noise(before: Frames, frames: Frames, severity: int, rng: Rng) -> list[Image]:
    """The same frame with new noise of 3, 2, 1 grey levels."""
    held = before[-1] if before else frames[0]
    sigma = _level(severity, 3.0, 2.0, 1.0)
    return [clip(held + rng.normal(0, sigma, held.shape)) for _ in frames]


def freeze_reencoded(before: Frames, frames: Frames, severity: int, rng: Rng) -> list[Image]:
    """The same frame, each time through JPEG at another quality (within 5, 10, 20)."""
    held = before[-1] if before else frames[0]
    spread = _level(severity, 20, 10, 5)
    qualities = [92 - int(rng.integers(spread)) for _ in frames]
    return [_through_jpeg(held, quality) for quality in qualities]


def _through_jpeg(image: Image, quality: int) -> Image:
    code = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8)


def ring_of_2(before: Frames, frames: Frames, severity: int, rng: Rng) -> list[Image]:
    """A buffer of two frames is sent round and round."""
    return _ring(2, before, frames)


def ring_of_5(before: Frames, frames: Frames, severity: int, rng: Rng) -> list[Image]:
    """A buffer of five frames is sent round and round."""
    return _ring(5, before, frames)


def _ring(size: int, before: Frames, frames: Frames) -> list[Image]:
    held = [*before, *frames[:size]][-size:] if len(before) < size else before[-size:]
    return [held[i % size].copy() for i in range(len(frames))]


def doubled(before: Frames, frames: Frames, severity: int, rng: Rng) -> list[Image]:
    """Half the rate sent as the full one: each frame comes twice. The picture is good."""
    return [frames[i - i % 2] for i in range(len(frames))]


# Rows and bytes


def wrong_stride(image: Image, severity: int, rng: Rng) -> Image:
    """Each row starts 1, 4, 16 pixels late: the padding of rows is not known."""
    step = _level(severity, 1, 4, 16)
    flat = np.concatenate([image.reshape(-1, 3), image.reshape(-1, 3)])
    height, width = image.shape[:2]
    starts = np.arange(height) * (width + step)
    return flat[(starts[:, None] + np.arange(width)) % (height * width)]


def torn(before: Frames, frames: Frames, severity: int, rng: Rng) -> list[Image]:
    """Above a line that moves, the frame is one from 3 frames (2, 1) later than below it."""
    out, lag = [], _level(severity, 1, 2, 3)
    known = [*before[-lag:], *frames] if len(before) >= lag else [*frames[:lag], *frames]
    for number in range(len(frames)):
        line = round(frames[number].shape[0] * rng.uniform(0.3, 0.7))
        image = frames[number].copy()
        image[line:] = known[number][line:]
        out.append(image)
    return out


def sheared_band(image: Image, severity: int, rng: Rng) -> Image:
    """A band of rows is displaced sideways by 8, 24, 80 pixels."""
    out = image.copy()
    height = image.shape[0]
    top = round(rng.uniform(0.2, 0.5) * height)
    rows = slice(top, top + round(0.25 * height))
    out[rows] = np.roll(image[rows], _level(severity, 8, 24, 80), axis=1)
    return out


def rolled(image: Image, severity: int, rng: Rng) -> Image:
    """The picture starts 10, 25, 50 % too low: lines are counted from the wrong one."""
    return np.roll(image, round(image.shape[0] * _level(severity, 0.1, 0.25, 0.5)), axis=0)


def fields_swapped(image: Image, severity: int, rng: Rng) -> Image:
    """Odd and even groups of 1, 2, 4 rows change places."""
    size = _level(severity, 1, 2, 4)
    height = image.shape[0] - image.shape[0] % (2 * size)
    out = image.copy()
    pairs = image[:height].reshape(-1, 2, size, *image.shape[1:])
    out[:height] = pairs[:, ::-1].reshape(height, *image.shape[1:])
    return out


def upside_down(image: Image, severity: int, rng: Rng) -> Image:
    """Turned by half a turn."""
    return np.ascontiguousarray(image[::-1, ::-1])


def mirrored(image: Image, severity: int, rng: Rng) -> Image:
    """Left is right."""
    return np.ascontiguousarray(image[:, ::-1])


def bgr(image: Image, severity: int, rng: Rng) -> Image:
    """Red is blue."""
    return np.ascontiguousarray(image[:, :, ::-1])


def green_blue_swapped(image: Image, severity: int, rng: Rng) -> Image:
    """Green is blue."""
    return np.ascontiguousarray(image[:, :, [0, 2, 1]])


def channel_lost(image: Image, severity: int, rng: Rng) -> Image:
    """One colour is 60, 30, 0 % of what it was."""
    out = image.astype(np.float32)
    out[:, :, int(rng.integers(3))] *= _level(severity, 0.6, 0.3, 0.0)
    return clip(out)


def chroma_lost(image: Image, severity: int, rng: Rng) -> Image:
    """The colour planes are constant: green or magenta pictures."""
    planes = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    planes[:, :, 1:] += _level(severity, 0.4, 0.7, 1.0) * (0.0 - planes[:, :, 1:])
    return np.asarray(cv2.cvtColor(clip(planes), cv2.COLOR_YCrCb2RGB), np.uint8)


def bits_shifted(image: Image, severity: int, rng: Rng) -> Image:
    """10 or 12 bits read as 8: grey levels wrap round 2, 4, 8 times."""
    return (image.astype(np.uint16) * _level(severity, 2, 4, 8) % 256).astype(np.uint8)


def dead_rows(image: Image, severity: int, rng: Rng) -> Image:
    """1, 3, 10 % of the rows are black."""
    out = image.copy()
    count = max(1, round(_level(severity, 0.01, 0.03, 0.1) * image.shape[0]))
    out[rng.choice(image.shape[0], count, replace=False)] = 0
    return out


def bright_columns(image: Image, severity: int, rng: Rng) -> Image:
    """1, 3, 10 % of the columns are white."""
    out = image.copy()
    count = max(1, round(_level(severity, 0.01, 0.03, 0.1) * image.shape[1]))
    out[:, rng.choice(image.shape[1], count, replace=False)] = 255
    return out


def row_banding(image: Image, severity: int, rng: Rng) -> Image:
    """Bands of 10, 20, 40 % more and less light: lamps flicker under a rolling shutter."""
    height = image.shape[0]
    phase = rng.uniform(0, 2 * np.pi)
    wave = np.sin(2 * np.pi * 6 * np.arange(height) / height + phase)
    return clip(image * (1 + _level(severity, 0.1, 0.2, 0.4) * wave)[:, None, None])


def row_noise(image: Image, severity: int, rng: Rng) -> Image:
    """Each row has an offset of its own, of 4, 10, 25 grey levels."""
    offsets = rng.normal(0, _level(severity, 4, 10, 25), image.shape[0])
    return clip(image + offsets[:, None, None])


def jpeg_cut(image: Image, severity: int, rng: Rng) -> Image:
    """A JPEG file that ends after 80, 50, 25 % of its bytes."""
    code = cv2.imencode('.jpg', image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    part = code[: round(len(code) * _level(severity, 0.8, 0.5, 0.25))]
    return _decode_damaged(part, image)


def jpeg_bytes(image: Image, severity: int, rng: Rng) -> Image:
    """1, 4, 16 bytes of a JPEG file are others."""
    code = cv2.imencode('.jpg', image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1].copy()
    at = rng.integers(len(code) // 10, len(code) - 2, _level(severity, 1, 4, 16))
    code[at] = rng.integers(1, 255, len(at))
    return _decode_damaged(code.tobytes(), image)


def _decode_damaged(code: bytes, image: Image) -> Image:
    from PIL import Image as Pillow
    from PIL import ImageFile

    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        return np.asarray(Pillow.open(io.BytesIO(code)).convert('RGB'), np.uint8).copy()
    except (OSError, SyntaxError):
        return np.full_like(image, 128)
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


def half_black(image: Image, severity: int, rng: Rng) -> Image:
    """The lower 15, 30, 60 % is black: it never came."""
    out = image.copy()
    out[round(image.shape[0] * (1 - _level(severity, 0.15, 0.3, 0.6))) :] = 0
    return out


# A real encoder and decoder


def h264_lost(before: Frames, frames: Frames, severity: int, rng: Rng) -> list[Image]:
    """2, 8, 25 % of the packets of an H.264 stream are lost, never the first."""
    share = _level(severity, 0.02, 0.08, 0.25)

    def lose(packet: bytes) -> bytes:
        return b'' if rng.random() < share else packet

    return _through_h264(before, frames, lose)


def h264_bytes(before: Frames, frames: Frames, severity: int, rng: Rng) -> list[Image]:
    """In every second packet of an H.264 stream 1, 4, 16 bytes are others."""
    count = _level(severity, 1, 4, 16)

    def change(packet: bytes) -> bytes:
        data = np.frombuffer(packet, np.uint8).copy()
        if len(data) > 40 and rng.random() < 0.5:
            data[rng.integers(20, len(data), count)] = rng.integers(1, 255, count)
        return data.tobytes()

    return _through_h264(before, frames, change)


def _through_h264(before: Frames, frames: Frames, damage: Any) -> list[Image]:
    """Encode with a real encoder, damage the packets after the first, decode.

    A frame that does not come out is the one before, as drivers do it.
    """
    from fractions import Fraction

    import av

    lead = list(before[-3:])
    height, width = (size - size % 2 for size in frames[0].shape[:2])
    encoder = av.CodecContext.create('libx264', 'w')
    encoder.width, encoder.height, encoder.pix_fmt = width, height, 'yuv420p'
    encoder.options = {'tune': 'zerolatency', 'preset': 'veryfast', 'g': '30', 'crf': '20'}
    encoder.framerate, encoder.time_base = Fraction(25), Fraction(1, 25)
    decoder = av.CodecContext.create('h264', 'r')
    decoder.options = {'flags': 'low_delay', 'flags2': '+showall', 'threads': '1'}
    out: list[Image] = []
    for number, image in enumerate([*lead, *frames]):
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[:height, :width]), 'rgb24')
        picture.pts = number
        packets = [bytes(packet) for packet in encoder.encode(picture)]
        shown = out[-1] if out else image
        for packet in packets:
            data = damage(packet) if number > max(len(lead) - 1, 0) else packet
            if not data:
                continue
            try:
                decoded = decoder.decode(av.Packet(data))
            except av.error.FFmpegError:
                continue
            for frame in decoded:
                shown = frame.to_ndarray(format='rgb24')
        out.append(shown)
    return [_padded(image, frames[0].shape) for image in out[len(lead) :]]


def _padded(image: Image, shape: tuple[int, ...]) -> Image:
    rows, columns = shape[0] - image.shape[0], shape[1] - image.shape[1]
    return np.pad(image, ((0, rows), (0, columns), (0, 0)), mode='edge')
