"""Official weight files: where they are, and a download that can be cut off and go on.

Nothing here is part of inference; `sam_ad weights` is its user.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from types import MappingProxyType

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from sam_ad_perception.core.console.outputs import new_folder
from sam_ad_perception.modeling.zoo.checkpoints import CheckpointError, check_digest

CHUNK = 1 << 20
MARGIN_BYTES = 64 << 20
"""Space that is left free on the disk."""

SAM_URL = 'https://dl.fbaipublicfiles.com/segment_anything/'
SAM2_URL = 'https://dl.fbaipublicfiles.com/segment_anything_2/092824/'


MAX_UNKNOWN_BYTES = 4 << 30
"""A file of which neither list nor server tells the size ends here."""


class DownloadError(OSError):
    """A download that failed; what has arrived is kept, and the next try goes on from there."""


@dataclass(frozen=True)
class WeightFile:
    """One official file.

    Attributes:
        url: Where it is.
        sha256: Its checksum.
        size: Bytes; 0 where unknown.
        licence: Terms.
        use: Which networks start from it.
    """

    url: str
    sha256: str
    size: int
    licence: str
    use: str

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.url.rsplit('/', maxsplit=1)[-1]


def _sam(name: str, sha256: str, size: int, use: str) -> WeightFile:
    return WeightFile(SAM_URL + name, sha256, size, 'Apache-2.0', use)


def _sam2(name: str, sha256: str, size: int, use: str) -> WeightFile:
    return WeightFile(SAM2_URL + name, sha256, size, 'Apache-2.0', use)


WEIGHT_FILES: Mapping[str, WeightFile] = MappingProxyType(
    {
        'sam_vit_b': _sam(
            'sam_vit_b_01ec64.pth',
            'ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912',
            375_042_383,
            'smaller AD-SAM, FusionSAM',
        ),
        'sam_vit_l': _sam(
            'sam_vit_l_0b3195.pth',
            '3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622',
            1_249_524_607,
            'smaller AD-SAM, FusionSAM',
        ),
        'sam_vit_h': _sam(
            'sam_vit_h_4b8939.pth',
            'a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e',
            2_564_550_879,
            'AD-SAM, FusionSAM',
        ),
        'mobile_sam': WeightFile(
            'https://github.com/ChaoningZhang/MobileSAM/raw/master/weights/mobile_sam.pt',
            '6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f',
            40_728_226,
            'Apache-2.0',
            'AD-SAM for a CPU',
        ),
        'sam2.1_hiera_tiny': _sam2(
            'sam2.1_hiera_tiny.pt',
            '7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69',
            156_008_466,
            'smaller MLE-SAM',
        ),
        'sam2.1_hiera_small': _sam2(
            'sam2.1_hiera_small.pt',
            '6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38',
            184_416_285,
            'smaller MLE-SAM',
        ),
        'sam2.1_hiera_base_plus': _sam2(
            'sam2.1_hiera_base_plus.pt',
            'a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5',
            323_606_802,
            'MLE-SAM',
        ),
        'sam2.1_hiera_large': _sam2(
            'sam2.1_hiera_large.pt',
            '2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318',
            898_083_611,
            'larger MLE-SAM',
        ),
        'resnet50': WeightFile(
            'https://download.pytorch.org/models/resnet50-11ad3fa6.pth',
            '11ad3fa62ca79e40addfd354a8ec4b7c75143b3038b8d2a807fbc68deab379ca',
            102_540_417,
            'BSD-3-Clause',
            'AD-SAM',
        ),
    }
)
"""Files that the networks of the papers start from."""


def fetch(
    file: WeightFile,
    folder: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
    attempts: int = 5,
    timeout_s: float = 30.0,
) -> Path:
    """Get a file, going on where an earlier try stopped, and check it.

    A file that is already there is only checked. What has arrived lies in `<name>.part`.

    Args:
        file: What to get.
        folder: Where to put it; made if absent.
        progress: Called with the bytes that are there and those expected (0 while unknown).
        attempts: Connections that may break before giving up.
        timeout_s: Silence after which a connection counts as broken, seconds.

    Returns:
        The file.

    Raises:
        CheckpointError: The checksum is wrong; a downloaded file is removed, one that was
            already there is not.
        DownloadError: The file is not there, the connection keeps breaking, or the disk is full.
    """
    target, part = folder / file.name, folder / f'{file.name}.part'
    if target.exists():
        check_digest(target, file.sha256)
        return target
    folder.mkdir(parents=True, exist_ok=True)
    reason = ''
    for _ in range(attempts):
        try:
            complete = _transfer(file, part, progress, timeout_s)
        except urllib.error.HTTPError as error:
            raise DownloadError(f'{file.url}: {error.code} {error.reason}') from error
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
            complete, reason = False, str(error) or type(error).__name__
        if complete:
            break
    else:
        raise DownloadError(
            f'{file.url}: connection broke {attempts} times ({reason or "too short"}); '
            f'{_size(part)} bytes are kept in {part}, try again to go on'
        )
    try:
        check_digest(part, file.sha256)
    except CheckpointError:
        part.unlink()
        raise
    part.replace(target)
    return target


def _transfer(
    file: WeightFile, part: Path, progress: Callable[[int, int], None] | None, timeout_s: float
) -> bool:
    """Append to the part what the server still has; True when it is complete."""
    have = _size(part)
    request = urllib.request.Request(file.url, headers={'Accept-Encoding': 'identity'})
    if have:
        request.add_header('Range', f'bytes={have}-')
    try:
        response: HTTPResponse = urllib.request.urlopen(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # nothing is left from there on
            raise
        if have == file.size:
            return True
        part.unlink()
        return False
    with response:
        resumed = response.status == 206 and _starts_at(response, have)
        if not resumed:
            have = 0
        length = response.headers.get('Content-Length')
        announced = have + int(length) if length else 0
        if file.size and announced not in (0, file.size):
            raise DownloadError(
                f'{file.url} has {announced} bytes, {file.size} are published: it is another file'
            )
        expected = file.size or announced
        _check_space(part, expected - have)
        with part.open('ab' if resumed else 'wb') as stream:
            while chunk := response.read(CHUNK):
                have += len(chunk)
                if have > (expected or MAX_UNKNOWN_BYTES):
                    raise DownloadError(
                        f'{file.url} sends more than the {expected or MAX_UNKNOWN_BYTES} bytes '
                        'that are expected: it is another file'
                    )
                stream.write(chunk)
                if progress:
                    progress(have, expected)
    return have == expected if expected else True


def _starts_at(response: HTTPResponse, offset: int) -> bool:
    return response.headers.get('Content-Range', '').startswith(f'bytes {offset}-')


def _check_space(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed + MARGIN_BYTES > free:
        raise DownloadError(
            f'{part.parent} has {free >> 20} MiB free, {(needed + MARGIN_BYTES) >> 20} are needed'
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def fetch_all(
    names: Sequence[str], folder: Path, console: Console, bar: type[Progress] = Progress
) -> int:
    """Get several files with a progress bar each.

    Args:
        names: Keys of `WEIGHT_FILES`.
        folder: Where to put them.
        console: Where the bars and the errors go.
        bar: Shows how far it is.

    Returns:
        How many failed; the others are there.
    """
    failed = 0
    columns = (
        TextColumn('{task.description}'), BarColumn(), DownloadColumn(binary_units=True),
        TransferSpeedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with bar(*columns, console=console) as bars:
        for name in names:
            file = WEIGHT_FILES[name]
            task = bars.add_task(file.name, total=file.size or None)

            def show(have: int, expected: int, task=task) -> None:  # type: ignore[no-untyped-def]
                bars.update(task, completed=have, total=expected or None)

            try:
                path = fetch(file, folder, progress=show)
                bars.update(task, completed=_size(path), total=_size(path))
            except (CheckpointError, OSError) as error:
                failed += 1
                bars.console.print(f'[red]{error}[/red]', soft_wrap=True)
    return failed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `sam_ad weights` to its parser."""
    listing = ', '.join(f'{name} ({file.use})' for name, file in WEIGHT_FILES.items())
    parser.add_argument(
        'names', nargs='+', choices=list(WEIGHT_FILES), metavar='NAME', help=listing
    )
    parser.add_argument(
        '--folder',
        type=new_folder(),
        default=Path(os.environ.get('SAM_AD_CHECKPOINTS', 'models/checkpoints')),
        help='checkpoint folder, made if absent (default: $SAM_AD_CHECKPOINTS, else %(default)s)',
    )


def run(arguments: argparse.Namespace, bar: type[Progress] = Progress) -> int:
    """Run `sam_ad weights`; returns the exit status."""
    console = Console(file=sys.stderr)
    return min(fetch_all(arguments.names, arguments.folder, console, bar), 1)
