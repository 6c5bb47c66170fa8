"""Decoding of compressed images, with what the JPEG decoder warns of.

OpenCV decodes a damaged JPEG as if nothing was wrong; libjpeg tells of it in one line on standard
error, and OpenCV offers no other way to learn it. So standard error is a file in memory while one
image is decoded, and what others wrote meanwhile is passed on.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_JPEG, _END = b'\xff\xd8', b'\xff\xd9'
_STDERR = 2
_WARNING = re.compile(
    rb'(?:Corrupt JPEG data|Premature end of JPEG|Inconsistent progression|Unknown Adobe|'
    rb'Warning: unknown JFIF|Invalid SOS|Application transferred)[^\n]*\n?'
)
_EXTRANEOUS = re.compile(r'(\d+) extraneous bytes before marker 0xd9')
_PADDING = 16
"""So many bytes before the end of an image are padding, which many USB cameras write."""
_lock = threading.Lock()


def decode_compressed(data: Any) -> tuple[NDArray[Any] | None, str]:
    """Decode any image that OpenCV reads, its pixels as they are stored.

    Args:
        data: The file's bytes: any object with the buffer protocol, not empty.

    Returns:
        (H, W) or (H, W, C), colour as blue, green, red; None where it does not decode. And the
        warning of the JPEG decoder that makes its pixels doubtful; empty without one.
    """
    buffer = np.frombuffer(data, np.uint8)
    if buffer[:2].tobytes() != _JPEG:
        return _decode(buffer), ''
    with _catch_stderr() as told:
        pixels = _decode(buffer)
    if pixels is None:
        return _without_end(buffer), ''
    return pixels, _doubt(told.text, buffer)


def _without_end(buffer: NDArray[np.uint8]) -> NDArray[Any] | None:
    """Decode a JPEG of which nothing but the marker of its end is missing; None for others."""
    with _catch_stderr() as told:
        pixels = _decode(np.append(buffer, np.frombuffer(_END, np.uint8)))
    return None if told.text else pixels


def _decode(buffer: NDArray[np.uint8]) -> NDArray[Any] | None:
    try:
        return cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None


@dataclass
class _Caught:
    text: str = field(default='')


@contextmanager
def _catch_stderr() -> Iterator[_Caught]:
    """Take what libjpeg writes on standard error, and pass on all else."""
    caught = _Caught()
    with _lock:
        try:
            file = os.memfd_create('stderr')
            before = os.dup(_STDERR)
        except (AttributeError, OSError):  # no such file here, or standard error is closed
            yield caught
            return
        try:
            os.dup2(file, _STDERR)
            yield caught
        finally:
            os.dup2(before, _STDERR)
            os.close(before)
            size = os.lseek(file, 0, os.SEEK_END)
            written = os.pread(file, size, 0) if size else b''
            os.close(file)
            caught.text = ' '.join(
                line.decode(errors='replace').strip() for line in _WARNING.findall(written)
            )
            if rest := _WARNING.sub(b'', written):
                os.write(_STDERR, rest)


def _doubt(text: str, buffer: NDArray[np.uint8]) -> str:
    """The warning, unless it is of padding alone: zeros before the end of the image."""
    padding = _EXTRANEOUS.search(text)
    if padding is None:
        return text
    count = int(padding.group(1))
    data = buffer[-(count + 2 * _PADDING) :].tobytes()
    before = data[: max(data.rfind(_END), 0)][-count:]
    return '' if count <= _PADDING and not before.strip(b'\0\xff') else text
