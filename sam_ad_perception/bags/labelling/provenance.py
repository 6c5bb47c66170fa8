"""What a labelled recording was made of: its input, the networks, every setting that counts.

It is kept as the note of the labelled recording (`BagWriter.note`), so that a command that is run
again knows what is done, and what would come out otherwise now.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sam_ad_perception.bags.reader import STORAGE_SUFFIXES, WHOLE_FILE_SUFFIXES
from sam_ad_perception.bags.writer import read_note
from sam_ad_perception.modeling.zoo.entries import zoo_files
from sam_ad_perception.modeling.zoo.packed import read_entries

INPUT = 'input'
_EDGE = 1 << 16
_NO_INFLUENCE = (
    *('model.zoo', 'model.checkpoint_dir', 'model.device', 'model.threads', 'model.cache_dir'),
    *('model.routing_table', 'calibration', 'views', 'max_mask_age_s', 'autostart'),
    *('bond_heartbeat_period', 'diagnostics_period_s'),
    *('visualization.', 'qos.', 'camera.', 'thermal.', 'event.', 'depth.'),
)
"""Parameters of the node on which masks of a bag do not depend, or that name files, which are
known by their content."""


def storage_files(bag: Path) -> list[Path]:
    """List the files that hold a recording's messages.

    Args:
        bag: Its folder, or its file.

    Returns:
        The files, by name; those that are compressed as a whole too.
    """
    if bag.is_file():
        return [bag]
    suffixes = STORAGE_SUFFIXES + WHOLE_FILE_SUFFIXES
    return sorted(file for file in bag.iterdir() if file.name.endswith(suffixes))


def identify(bag: Path) -> str:
    """Tell recordings apart without reading them whole.

    Args:
        bag: A recording.

    Returns:
        A hash over name, size, beginning and end of each file; the end of an MCAP file holds
        the checksum and the statistics of what is before it.

    Raises:
        OSError: A file cannot be read.
    """
    digest = hashlib.sha256()
    for file in storage_files(bag):
        size = file.stat().st_size
        digest.update(f'{file.name}\0{size}\0'.encode())
        with file.open('rb') as stream:
            digest.update(stream.read(_EDGE))
            stream.seek(max(0, size - _EDGE))
            digest.update(stream.read(_EDGE))
    return digest.hexdigest()


def describe_settings(
    parameters: Mapping[str, object],
    extra: Mapping[str, object],
    zoo: Path,
    checkpoints: Path,
    files: Mapping[str, Path],
) -> dict[str, str]:
    """Describe everything but the input on which the masks depend.

    Args:
        parameters: Of the segmentation node, by dotted name.
        extra: What the command line says beside them.
        zoo: The zoo file.
        checkpoints: Folder of the checkpoints.
        files: Further files that are read, by their purpose.

    Returns:
        Values by name; files and networks by hashes of their content.

    Raises:
        OSError: A file cannot be read.
    """
    told = {k: str(v) for k, v in parameters.items() if not k.startswith(_NO_INFLUENCE)}
    told |= {name: str(value) for name, value in extra.items()}
    entries: dict[str, Any] = {}
    folders: dict[str, Path] = {}
    for file in reversed(zoo_files(zoo)):
        found = read_entries(file)
        entries |= found
        folders |= dict.fromkeys(found, checkpoints if file == zoo else file.parent)
    for key in filter(None, map(str.strip, str(parameters['model.key']).split(','))):
        entry = entries.get(key)
        told[f'network {key}'] = _digest(json.dumps(entry, sort_keys=True, default=str).encode())
        named = ((entry or {}).get('checkpoint') or {}).get('file')
        for folder in (folders.get(key, checkpoints), checkpoints):
            if named and (folder / named).is_file():
                told[f'checkpoint {named}'] = _digest_file(folder / named)
                break
    return told | {name: _digest_file(path) for name, path in files.items()}


def write_provenance(bag: Path, settings: Mapping[str, str]) -> str:
    """Put input and settings into the words that `compare` reads.

    Args:
        bag: The recording that is labelled.
        settings: See `describe_settings`.

    Returns:
        The note for the labelled recording.

    Raises:
        OSError: The recording cannot be read.
    """
    return json.dumps({INPUT: identify(bag), **settings}, sort_keys=True)


def compare(out: Path, note: str) -> Sequence[str]:
    """Tell what a labelled recording was made of otherwise.

    Args:
        out: The labelled recording.
        note: What would be written into it now.

    Returns:
        The differences in words; none where labelling again would change nothing.
    """
    try:
        before = json.loads(read_note(out))
    except ValueError:
        return ('it does not say how it was labelled',)
    now = json.loads(note)
    differences = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name, 'nothing'), now.get(name, 'nothing')
        if old != new:
            short = [text if len(text) < SHORT else f'{text[:8]}...' for text in (old, new)]
            differences.append(f'{name} was {short[0]}, is {short[1]} now')
    return tuple(differences)


SHORT = 50
"""Longer values, hashes for example, are shown by their beginning."""


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _digest_file(path: Path) -> str:
    with path.open('rb') as stream:
        return hashlib.file_digest(stream, 'sha256').hexdigest()
