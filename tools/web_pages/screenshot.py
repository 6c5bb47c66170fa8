"""Takes a picture of a page, such as the report of the demo in the README.

`python -m tools.web_pages.screenshot demo_output/report.html report.jpg --seconds 7`
"""

from __future__ import annotations

import argparse
import base64
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools.web_pages.browser import Browser, find_browser

_SEEK = """new Promise((done) => {{
  const video = document.getElementById('video');
  video.pause();
  video.controls = false;
  video.onseeked = () => setTimeout(done, 300);
  video.currentTime = {seconds};
}})"""


def main(argv: Sequence[str] | None = None) -> int:
    """Take the picture.

    Args:
        argv: Command line; the process's own by default.

    Returns:
        Exit code.

    Raises:
        FileNotFoundError: There is no Chromium.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('page', type=Path)
    parser.add_argument('picture', type=Path, help='a .jpg')
    parser.add_argument('--width', type=int, default=1200, help='pixels')
    parser.add_argument('--height', type=int, default=1330, help='pixels from the top')
    parser.add_argument('--quality', type=int, default=72, help='of the JPEG')
    parser.add_argument('--seconds', type=float, help='where in its video')
    options = parser.parse_args(argv)
    program = find_browser()
    if program is None:
        raise FileNotFoundError('no Chromium on the path')
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = Browser(program, Path(folder))
        try:
            browser.open(options.page, options.width, options.height)
            if options.seconds is not None:
                browser.run(_SEEK.format(seconds=options.seconds))
            taken = browser.call('Page.captureScreenshot', format='jpeg', quality=options.quality)
        finally:
            browser.close()
    options.picture.write_bytes(base64.b64decode(taken['data']))
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
