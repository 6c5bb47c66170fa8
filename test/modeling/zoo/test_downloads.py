from __future__ import annotations

import argparse
import hashlib
import http.server
import io
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from sam_ad_perception.modeling.zoo import downloads
from sam_ad_perception.modeling.zoo.checkpoints import CheckpointError
from sam_ad_perception.modeling.zoo.downloads import (
    WEIGHT_FILES,
    DownloadError,
    WeightFile,
    add_arguments,
    fetch,
    fetch_all,
    run,
)

CONTENT = np.random.default_rng(0).bytes(300_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves one file; breaks the connection after `cut` bytes as often as `breaks` says."""

    daemon_threads = True
    content = CONTENT
    ranges = True
    tells_length = True
    breaks = 0
    cut = 100_000

    def __init__(self) -> None:
        super().__init__(('127.0.0.1', 0), Handler)
        self.requests: list[str | None] = []

    def file(self, sha256: str = DIGEST, name: str = 'w.pth', size: int = 0) -> WeightFile:
        host, port = self.server_address[:2]
        return WeightFile(f'http://{host}:{port}/a/{name}', sha256, size, 'MIT', 'test')


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get('Range')
        server.requests.append(wanted)
        if self.path != '/a/w.pth':
            self.send_error(404)
            return
        start = int(re.fullmatch(r'bytes=(\d+)-', wanted).group(1)) if wanted else 0
        if not server.ranges:
            start = 0
        if start >= len(server.content):
            self.send_error(416)
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            end = len(server.content)
            self.send_header('Content-Range', f'bytes {start}-{end - 1}/{end}')
        if server.tells_length:
            self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        if server.breaks:
            server.breaks -= 1
            self.wfile.write(body[: server.cut])
            self.close_connection = True
            return
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.shutdown()


def test_gets_the_file_and_reports_progress(server, tmp_path: Path):
    seen: list[tuple[int, int]] = []
    path = fetch(server.file(), tmp_path / 'new', progress=lambda *p: seen.append(p))
    assert path == tmp_path / 'new' / 'w.pth'
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert not list(path.parent.glob('*.part'))


def test_goes_on_after_a_broken_connection(server, tmp_path: Path):
    server.breaks = 2
    assert fetch(server.file(), tmp_path).read_bytes() == CONTENT
    assert server.requests == [None, 'bytes=100000-', 'bytes=200000-']


def test_goes_on_in_a_later_run(server, tmp_path: Path):
    server.breaks = 2
    with pytest.raises(DownloadError, match=r'broke 2 times .* 200000 bytes are kept'):
        fetch(server.file(), tmp_path, attempts=2)
    assert not (tmp_path / 'w.pth').exists()
    assert fetch(server.file(), tmp_path).read_bytes() == CONTENT
    assert server.requests[-1] == 'bytes=200000-'


def test_starts_again_where_the_server_cannot_resume(server, tmp_path: Path):
    server.ranges = False
    (tmp_path / 'w.pth.part').write_bytes(b'something else')
    assert fetch(server.file(), tmp_path).read_bytes() == CONTENT


def test_a_complete_part_needs_no_more_bytes(server, tmp_path: Path):
    (tmp_path / 'w.pth.part').write_bytes(CONTENT)
    assert fetch(server.file(size=len(CONTENT)), tmp_path).read_bytes() == CONTENT
    assert server.requests == ['bytes=300000-']


def test_a_part_longer_than_the_file_is_thrown_away(server, tmp_path: Path):
    (tmp_path / 'w.pth.part').write_bytes(CONTENT + b'more')
    assert fetch(server.file(size=len(CONTENT)), tmp_path).read_bytes() == CONTENT
    assert server.requests == ['bytes=300004-', None]


def test_a_wrong_download_is_refused_and_removed(server, tmp_path: Path):
    with pytest.raises(CheckpointError, match=f'has sha256 {DIGEST}, expected {"0" * 64}'):
        fetch(server.file('0' * 64), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_checked_and_never_touched(server, tmp_path: Path):
    (tmp_path / 'w.pth').write_bytes(CONTENT)
    assert fetch(server.file(), tmp_path) == tmp_path / 'w.pth'
    (tmp_path / 'w.pth').write_bytes(b'mine')
    with pytest.raises(CheckpointError, match='damaged or another one'):
        fetch(server.file(), tmp_path)
    assert (tmp_path / 'w.pth').read_bytes() == b'mine'
    assert server.requests == []


@pytest.mark.parametrize('tells_length', [True, False])
def test_a_server_that_sends_more_than_is_published_is_cut_off(
    server, tmp_path: Path, tells_length
):
    server.tells_length = tells_length
    size = len(CONTENT) // 2
    with pytest.raises(DownloadError, match='it is another file'):
        fetch(server.file(size=size), tmp_path)
    assert not (tmp_path / 'w.pth').exists()
    part = tmp_path / 'w.pth.part'
    assert not part.exists() or part.stat().st_size <= size


def test_a_length_that_nobody_tells_is_no_fault(server, tmp_path: Path):
    server.tells_length = False
    assert fetch(server.file(size=len(CONTENT)), tmp_path).read_bytes() == CONTENT
    assert fetch(server.file(), tmp_path / 'unknown').read_bytes() == CONTENT


def test_a_missing_file_is_not_tried_again(server, tmp_path: Path):
    with pytest.raises(DownloadError, match='404'):
        fetch(server.file(name='x.pth'), tmp_path)
    assert len(server.requests) == 1


def test_no_server_is_an_error_that_says_so(server, tmp_path: Path):
    file = server.file()
    server.shutdown()
    server.server_close()
    with pytest.raises(DownloadError, match=r'broke 2 times .*refused'):
        fetch(file, tmp_path, attempts=2)


def test_a_full_disk_is_noticed_before_the_download(server, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(downloads, 'MARGIN_BYTES', 1 << 60)
    with pytest.raises(DownloadError, match='MiB free'):
        fetch(server.file(), tmp_path)
    assert not list(tmp_path.glob('*'))


def test_one_failure_does_not_stop_the_others(server, tmp_path: Path, monkeypatch):
    table = {'good': server.file(), 'bad': server.file(name='x.pth')}
    monkeypatch.setattr(downloads, 'WEIGHT_FILES', table)
    text = io.StringIO()
    assert fetch_all(['bad', 'good'], tmp_path, Console(file=text, width=200)) == 1
    assert (tmp_path / 'w.pth').read_bytes() == CONTENT
    assert 'x.pth: 404' in text.getvalue()


def test_command_line(server, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(downloads, 'WEIGHT_FILES', {'good': server.file()})
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert run(parser.parse_args(['good', '--folder', str(tmp_path)])) == 0
    assert (tmp_path / 'w.pth').exists()
    with pytest.raises(SystemExit):
        parser.parse_args(['sam_vit_z'])
    assert 'invalid choice' in capsys.readouterr().err


def test_table_is_well_formed():
    for name, file in WEIGHT_FILES.items():
        assert file.url.startswith('https://'), name
        assert re.fullmatch(r'[0-9a-f]{64}', file.sha256), name
        assert file.name.startswith(name), name
    assert len({file.sha256 for file in WEIGHT_FILES.values()}) == len(WEIGHT_FILES)
    # torchvision puts the beginning of the checksum into the name
    assert f'-{WEIGHT_FILES["resnet50"].sha256[:8]}.' in WEIGHT_FILES['resnet50'].name
