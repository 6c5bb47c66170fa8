"""Pictures and labels decoded on short ways, against OpenCV and Pillow."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from PIL import Image

from training.frames.frame import DatasetError
from training.frames.image_files import read_rgb
from training.frames.label_images import read_ids
from training.frames.png_pixels import PNG, unpack_png


def chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack('>I', len(content)) + body + struct.pack('>I', zlib.crc32(body))


def png(ids: np.ndarray, filters: Sequence[int], coded: bytes | None = None) -> bytes:
    """A PNG whose rows are filtered as the specification says, pixel by pixel."""
    rows = []
    for v, kind in zip(range(len(ids)), filters, strict=True):
        row = [kind]
        for u, value in enumerate(ids[v].tolist()):
            a = int(ids[v, u - 1]) if u else 0
            b = int(ids[v - 1, u]) if v else 0
            c = int(ids[v - 1, u - 1]) if u and v else 0
            near = sorted((abs(a + b - c - each), k) for k, each in enumerate((a, b, c)))[0][1]
            row.append((value - (0, a, b, (a + b) // 2, (a, b, c)[near])[kind]) % 256)
        rows.append(bytes(row))
    header = struct.pack('>IIBBBBB', ids.shape[1], ids.shape[0], 8, 0, 0, 0, 0)
    coded = zlib.compress(b''.join(rows)) if coded is None else coded
    parts = [coded[:9], coded[9:]]  # writers split the data where they like
    data = b''.join(chunk(b'IDAT', part) for part in parts)
    return PNG + chunk(b'IHDR', header) + data + chunk(b'IEND', b'')


@pytest.fixture
def ids(rng: np.random.Generator) -> np.ndarray:
    """Patches of classes, with noise in one corner so that every predictor is asked."""
    drawn = np.kron(rng.integers(0, 19, (5, 8)), np.ones((4, 5))).astype(np.uint8)
    drawn[:10, :20] = rng.integers(0, 256, (10, 20))
    return drawn


def test_labels_of_every_row_filter_are_those_that_pillow_reads(ids, rng):
    for kind in range(5):
        content = png(ids, [kind] * len(ids))
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), ids)
        pixels = unpack_png(content)
        assert pixels is not None
        assert pixels.palette is None
        np.testing.assert_array_equal(pixels.values, ids)
    mixed = unpack_png(png(ids, rng.integers(0, 5, len(ids)).tolist()))
    np.testing.assert_array_equal(mixed.values, ids)


def test_labels_that_others_wrote_and_their_palette(ids):
    coded = cv2.imencode('.png', ids)[1].tobytes()
    np.testing.assert_array_equal(unpack_png(coded).values, ids)
    image = Image.fromarray(ids).convert('P')
    palette = np.arange(768, dtype=np.uint8).reshape(256, 3)
    image.putpalette(palette.tobytes())
    image.putdata(ids.ravel().tolist())
    stream = io.BytesIO()
    image.save(stream, 'PNG')
    pixels = unpack_png(stream.getvalue())
    np.testing.assert_array_equal(pixels.values, ids)
    np.testing.assert_array_equal(pixels.palette, palette)


def test_what_it_does_not_unpack_is_left_to_others(tmp_path, ids):
    colours = cv2.imencode('.png', np.dstack([ids, ids, ids]))[1].tobytes()
    for content in (b'', b'BM', colours, cv2.imencode('.png', ids * np.uint16(9))[1].tobytes()):
        assert unpack_png(content) is None
    few = Image.fromarray(ids % 2).convert('P')
    few.save(tmp_path / 'few.png', bits=1)
    assert unpack_png((tmp_path / 'few.png').read_bytes()) is None
    np.testing.assert_array_equal(read_ids(tmp_path / 'few.png'), np.asarray(few))


@pytest.mark.parametrize(
    'coded',
    [zlib.compress(bytes(100)), b'no zlib stream at all', zlib.compress(bytes([7]) * 820)],
    ids=['too few rows', 'no stream', 'an unknown filter'],
)
def test_labels_whose_stream_is_not_what_the_header_says_are_refused(tmp_path, ids, coded):
    assert ids.shape == (20, 40)
    content = png(ids, [0] * len(ids), coded)
    assert unpack_png(content) is None
    (tmp_path / 'a.png').write_bytes(content)
    with pytest.raises(DatasetError, match=r'a\.png is damaged'):
        read_ids(tmp_path / 'a.png')


@pytest.mark.parametrize('sampling', ['444', '422', '420'])
@pytest.mark.parametrize('progressive', [0, 1])
def test_a_jpeg_has_the_pixels_that_opencv_decodes(tmp_path, rng, sampling, progressive):
    coarse = rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, (163, 91), interpolation=cv2.INTER_CUBIC)
    how = [
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        getattr(cv2, f'IMWRITE_JPEG_SAMPLING_FACTOR_{sampling}'),
    ]
    how += [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive]
    cv2.imwrite(str(tmp_path / 'a.jpg'), picture, how)
    expected = cv2.cvtColor(cv2.imread(str(tmp_path / 'a.jpg')), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(read_rgb(tmp_path / 'a.jpg'), expected)


def test_a_jpeg_of_four_inks_is_read_as_before(tmp_path, rng):
    coarse = rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)
    picture = Image.fromarray(cv2.resize(coarse, (90, 70), interpolation=cv2.INTER_CUBIC))
    picture.convert('CMYK').save(tmp_path / 'a.jpg')
    expected = cv2.imread(str(tmp_path / 'a.jpg'), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(
        read_rgb(tmp_path / 'a.jpg'), cv2.cvtColor(expected, cv2.COLOR_BGR2RGB)
    )
