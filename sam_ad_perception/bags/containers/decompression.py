"""Unpacking of zstd and lz4 with a limit, so that a damaged size allocates nothing."""

from __future__ import annotations

import zlib

import lz4.frame
import zstandard

from sam_ad_perception.bags.containers.records import MAX_CHUNK_BYTES, ContainerError

ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'
_STEP = 1 << 20


def unpack_chunk(data: bytes, compression: str, size: int, crc: int) -> bytes:
    """Unpack the records of an MCAP chunk.

    Args:
        data: As the file has them.
        compression: `zstd`, `lz4` or '' for none.
        size: Their size when unpacked, as the chunk tells, bytes.
        crc: CRC32 of the unpacked bytes; 0 for none.

    Returns:
        The records.

    Raises:
        ContainerError: The chunk is damaged, or its size beyond `MAX_CHUNK_BYTES`.
    """
    if size > MAX_CHUNK_BYTES:
        raise ContainerError(
            f'a chunk claims {size} bytes, more than the limit of {MAX_CHUNK_BYTES}'
        )
    raw, whole = unpack_beginning(data, compression, size)
    if not whole or len(raw) != size:
        raise ContainerError(f'a chunk claims {size} bytes and unpacks to {len(raw)}')
    if crc and zlib.crc32(raw) != crc:
        raise ContainerError('the checksum of a chunk is wrong')
    return raw


def unpack_beginning(data: bytes, compression: str, size: int) -> tuple[bytes, bool]:
    """Unpack as much as there is of data that may be cut off.

    Args:
        data: The compressed bytes.
        compression: `zstd`, `lz4` or '' for none.
        size: At most so many bytes come out, and one more where there are more.

    Returns:
        What came out, and whether the end was reached without an error.

    Raises:
        ContainerError: The compression is not one of MCAP.
    """
    if not compression:
        return data, True
    if compression not in ('zstd', 'lz4'):
        raise ContainerError(f'the compression {compression!r} is not zstd, lz4 or none')
    out = bytearray()
    unpack = _unpack_zstd if compression == 'zstd' else _unpack_lz4
    whole = unpack(data, min(size, MAX_CHUNK_BYTES) + 1, out)
    return bytes(out), whole


def unpack_message(data: bytes) -> bytes:
    """Unpack a message that its recorder compressed by itself.

    Args:
        data: One zstd frame.

    Returns:
        The message; the very bytes where they are no zstd frame.

    Raises:
        ContainerError: The frame is damaged, or unpacks to more than `MAX_CHUNK_BYTES`.
    """
    if data[:4] != ZSTD_MAGIC:
        return data
    raw, whole = unpack_beginning(data, 'zstd', MAX_CHUNK_BYTES)
    if not whole or len(raw) > MAX_CHUNK_BYTES:
        raise ContainerError('a message that is compressed by zstd is cut off, or too large')
    return raw


def _unpack_zstd(data: bytes, limit: int, out: bytearray) -> bool:
    """Append at most `limit` bytes to `out`; says whether no error came."""
    with zstandard.ZstdDecompressor().stream_reader(data) as stream:
        try:
            while len(out) < limit:
                part = stream.read(min(_STEP, limit - len(out)))
                if not part:
                    return True
                out += part
        except zstandard.ZstdError:
            return False
    return True


def _unpack_lz4(data: bytes, limit: int, out: bytearray) -> bool:
    """Append at most `limit` bytes to `out`; says whether the frame ended well."""
    unpacker = lz4.frame.LZ4FrameDecompressor()
    try:
        for start in range(0, len(data), _STEP):
            out += unpacker.decompress(data[start : start + _STEP], limit - len(out))
            while not (unpacker.eof or unpacker.needs_input) and len(out) < limit:
                out += unpacker.decompress(b'', limit - len(out))
            if unpacker.eof or len(out) >= limit:
                return True
    except RuntimeError:
        return False
    return bool(unpacker.eof)
