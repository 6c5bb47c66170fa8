"""A headless Chromium, spoken to over its own DevTools protocol: two pipes and JSON.

Nothing has to be installed beside the browser.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

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
