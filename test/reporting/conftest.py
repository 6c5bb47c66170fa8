"""A run to report on, and a headless Chromium to look at the report.

The browser is spoken to over its own DevTools protocol, two pipes and JSON: nothing has to be
installed beside it.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sam_ad_perception.bags.results import ResultWriter
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.sensors import Modality, Segmentation, SensorBundle
from sam_ad_perception.core.status import summarize_segmentation
from sam_ad_perception.simulation.drive import Drive, DriveConfig
from sam_ad_perception.simulation.faults import Fault
from sam_ad_perception.simulation.recording import record

NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome')
VARIABLE = 'CHROMIUM'
TIMEOUT_S = 60.0


class Browser:
    """One page in a headless Chromium.

    Attributes:
        errors: What the console said of errors and exceptions.
        requests: Addresses that were asked for.
    """

    def __init__(self, program: str, folder: Path) -> None:
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()

        def connect() -> None:  # file descriptors 3 and 4 are those of --remote-debugging-pipe
            os.dup2(os.dup(theirs_in), 3)
            os.dup2(os.dup(theirs_out), 4)

        arguments = [
            '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage',
            '--hide-scrollbars', '--autoplay-policy=no-user-gesture-required',
            '--disable-background-networking', f'--user-data-dir={folder}',
            '--remote-debugging-pipe',
        ]  # fmt: skip
        self._process = subprocess.Popen(
            [program, *arguments],
            preexec_fn=connect,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._in, self._out = ours_in, ours_out
        self._buffer = b''
        self._number = 0
        self._session: str | None = None
        self._loaded = False
        self.errors: list[str] = []
        self.requests: list[str] = []
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        attached = self.call('Target.attachToTarget', targetId=target, flatten=True)
        self._session = attached['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.call(f'{domain}.enable')

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and wait for its result."""
        self._number += 1
        order: dict[str, Any] = {'id': self._number, 'method': method, 'params': parameters}
        if self._session is not None:
            order['sessionId'] = self._session
        os.write(self._out, json.dumps(order).encode() + b'\0')
        while True:
            message = self._receive()
            if message.get('id') == self._number:
                assert 'error' not in message, message
                return message['result']

    def open(self, page: Path, width: int, height: int = 900) -> None:
        """Load a page in a window of a size in pixels."""
        self.call(
            'Emulation.setDeviceMetricsOverride',
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        self._loaded = False
        self.call('Page.navigate', url=page.resolve().as_uri())
        while not self._loaded:
            self._receive()

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for."""
        result = self.call(
            'Runtime.evaluate', expression=script, awaitPromise=True, returnByValue=True
        )
        assert 'exceptionDetails' not in result, result['exceptionDetails']
        return result['result'].get('value')

    def close(self) -> None:
        """End the browser."""
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def _receive(self) -> dict[str, Any]:
        end = time.monotonic() + TIMEOUT_S
        while b'\0' not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(0.0, end - time.monotonic()))
            assert ready, f'the browser did not answer within {TIMEOUT_S:.0f} s'
            data = os.read(self._in, 1 << 20)
            assert data, 'the browser ended'
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b'\0')
        message: dict[str, Any] = json.loads(line)
        self._take(message.get('method', ''), message.get('params', {}))
        return message

    def _take(self, method: str, event: dict[str, Any]) -> None:
        if method == 'Page.loadEventFired':
            self._loaded = True
        elif method == 'Network.requestWillBeSent':
            self.requests.append(event['request']['url'])
        elif method == 'Runtime.exceptionThrown':
            self.errors.append(json.dumps(event['exceptionDetails'])[:500])
        elif method == 'Log.entryAdded' and event['entry']['level'] == 'error':
            self.errors.append(event['entry']['text'])
        elif method == 'Runtime.consoleAPICalled' and event['type'] in ('error', 'assert'):
            self.errors.append(json.dumps(event['args'])[:500])


def find_browser() -> str | None:
    """The program named by CHROMIUM, or a Chromium or Chrome on the path."""
    named = os.environ.get(VARIABLE)
    return named or next((found for name in NAMES if (found := shutil.which(name))), None)


@pytest.fixture
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A headless Chromium; skips where none is installed."""
    program = find_browser()
    if program is None:
        pytest.skip(f'no Chromium on the path, and {VARIABLE} names none')
    opened = Browser(program, tmp_path_factory.mktemp('chromium'))
    yield opened
    opened.close()


SPACE = LABEL_SPACES['cityscapes']
FAULTS = (Fault('camera', 'black', 0.2, 0.4), Fault('lidar', 'dropout', 0.5, 0.6))
NOTICED_FRAME = 3
"""The camera is black from frame 2 on; the run says so one frame later."""


@pytest.fixture(scope='session')
def run(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A simulated drive of eight frames with two faults, and a run with masks known to be wrong.

    The recording is the simulator's, the run is written as `sam_ad label` writes it. A quarter of
    each mask is sidewalk, and the rest is right.
    """
    folder = tmp_path_factory.mktemp('run')
    drive = Drive(
        DriveConfig(
            seed=5, duration_s=0.8, size=(80, 128), thermal_size=(48, 64), event_size=(48, 64),
            conditions=((0.0, 'day'), (0.4, 'night')), faults=FAULTS,
        )
    )  # fmt: skip
    with BagWriter(folder / 'drive') as writer:
        record(drive, writer)
    stamps, masks, truths, statuses = drive.frame_stamps('camera'), {}, {}, []
    with BagWriter(folder / 'labelled') as writer:
        results = ResultWriter(writer, SPACE, rectified=True)
        for index, stamp_ns in enumerate(stamps):
            bundle, truth = drive.bundle(stamp_ns)
            mask = truth.labels.copy()
            mask[:, : mask.shape[1] // 4] = 1
            bundle = judge(bundle, index)
            used = tuple(bundle.frames)
            result = Segmentation(
                stamp_ns, bundle.camera, mask, np.full_like(mask, 200), 'demo', used,
                missing=bundle.missing, depth=truth.depth,
                gate={m: 1 / len(used) for m in used},
                latency_s={'network': 0.1 + 0.01 * index, 'mask': 0.01},
            )  # fmt: skip
            results.write_result(bundle, result, stamp_ns + 1)
            statuses.append(summarize_segmentation(result))
            results.write_status(statuses[-1], stamp_ns + 1)
            masks[stamp_ns], truths[stamp_ns] = mask, truth.labels
    return SimpleNamespace(
        inputs=folder / 'drive', outputs=folder / 'labelled', stamps=stamps, masks=masks,
        truths=truths, statuses=statuses,
    )  # fmt: skip


def judge(bundle: SensorBundle, index: int) -> SensorBundle:
    """Take the black camera out of a bundle, one frame late."""
    if index != NOTICED_FRAME:
        return bundle
    frames = {m: frame for m, frame in bundle.frames.items() if m is not Modality.CAMERA}
    missing = {**bundle.missing, Modality.CAMERA: 'black: 100 % of the pixels are at most 3'}
    return replace(bundle, frames=frames, reference=Modality.THERMAL, missing=missing)
