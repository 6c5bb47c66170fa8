"""Looks at pages as a person does: sideways scroll, smallest text, lowest contrast.

`python -m tools.web_pages.audit demo_output/report.html` opens each page in a headless Chromium,
wide and narrow, light and dark.
"""

from __future__ import annotations

import argparse
import base64
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.web_pages.browser import Browser, find_browser

WIDTHS, SCHEMES = (1200, 390), ('light', 'dark')
TEXT_PX, CONTRAST, LARGE_CONTRAST = 11.0, 4.5, 3.0
"""Smallest text, and the contrast of WCAG 2 AA for it and for text of 24 px, or bold of 18.66."""

_LOOK = """(() => {
  const rgba = (text) => { const n = (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number); return [n[0], n[1], n[2], n.length > 3 ? n[3] : 1]; };
  const channel = (v) => { const s = v / 255; return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4; };
  const luminance = (c) => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
  const contrast = (a, b) => { const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
  const shown = [...document.querySelectorAll('iframe')].filter((each) => !each.hidden && each.contentDocument);
  const pages = [document, ...shown.map((each) => each.contentDocument)];
  const dark = matchMedia('(prefers-color-scheme: dark)').matches && pages.some((page) => page.defaultView.getComputedStyle(page.documentElement).colorScheme.includes('dark'));
  const ground = (node) => {
    for (let e = node; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor); if (c[3] > 0.99) return c; }
    return dark ? [18, 18, 18, 1] : [255, 255, 255, 1];
  };
  const texts = [];
  for (const page of pages) {
  const walker = page.createTreeWalker(page.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const e = node.parentElement;
    if (!node.textContent.trim() || e.closest('script, style, title, iframe')) continue;
    const box = page.createRange(); box.selectNodeContents(node);
    const rect = box.getBoundingClientRect();
    if (!rect.width || !rect.height) continue;
    const style = getComputedStyle(e), svg = e.closest('svg');
    const placed = svg && e.getScreenCTM ? e.getScreenCTM() : null;
    const scale = placed ? Math.hypot(placed.a, placed.b) : 1;  // rotated text keeps its size
    const size = parseFloat(style.fontSize) * scale;
    const bar = svg && e.parentElement.querySelector(':scope > rect');
    const color = rgba(svg ? style.fill : style.color);
    const below = bar ? rgba(getComputedStyle(bar).fill) : ground(e);
    const large = size >= 24 || (size >= 18.66 && +style.fontWeight >= 700);
    texts.push({ text: node.textContent.trim().slice(0, 40), size, contrast: contrast(color, below), large });
  }
  }
  return { overflow: Math.max(...pages.map((page) => page.documentElement.scrollWidth - page.defaultView.innerWidth)), texts };
})()"""  # noqa: E501


@dataclass(frozen=True)
class PageLook:
    """One page at one width in one scheme.

    Attributes:
        page: Its file.
        width: Of the window, pixels.
        scheme: `light` or `dark`.
        overflow: How much it is wider than the window, pixels; 0 or less for not at all.
        smallest: The smallest text as it is drawn, pixels, and what it says.
        faint: Texts whose contrast is below WCAG 2 AA, with their contrast.
    """

    page: Path
    width: int
    scheme: str
    overflow: int
    smallest: tuple[float, str]
    faint: tuple[tuple[float, str], ...]

    @property
    def faults(self) -> list[str]:
        """What is wrong with it, in words."""
        where = f'{self.page.name} at {self.width} px, {self.scheme}'
        found = [f'{where}: {self.overflow} px too wide'] if self.overflow > 0 else []
        if self.smallest[0] < TEXT_PX:
            found.append(f'{where}: text of {self.smallest[0]:.1f} px: {self.smallest[1]!r}')
        return found + [f'{where}: contrast {c:.2f}: {text!r}' for c, text in self.faint]


def look_at(browser: Browser, page: Path, pictures: Path | None = None) -> Iterator[PageLook]:
    """Open a page wide and narrow, light and dark.

    Args:
        browser: A headless Chromium.
        page: A file.
        pictures: Folder for a picture of each; None for none.

    Yields:
        What was seen.
    """
    for scheme in SCHEMES:
        features = [{'name': 'prefers-color-scheme', 'value': scheme}]
        browser.call('Emulation.setEmulatedMedia', features=features)
        for width in WIDTHS:
            browser.open(page, width)
            seen = browser.run(_LOOK)
            texts = seen['texts']
            least = min(texts, key=lambda each: each['size'])
            faint = {
                (round(each['contrast'], 2), each['text'])
                for each in texts
                if each['contrast'] < (LARGE_CONTRAST if each['large'] else CONTRAST)
            }
            if pictures is not None:
                name = f'{page.stem}_{width}_{scheme}.jpg'
                taken = browser.call('Page.captureScreenshot', format='jpeg', quality=70)
                pictures.mkdir(parents=True, exist_ok=True)
                (pictures / name).write_bytes(base64.b64decode(taken['data']))
            yield PageLook(
                page, width, scheme, int(seen['overflow']),
                (float(least['size']), least['text']), tuple(sorted(faint)),
            )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Look at pages.

    Args:
        argv: Command line; the process's own by default.

    Returns:
        0, or 1 where something is wrong.

    Raises:
        FileNotFoundError: There is no Chromium.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('pages', nargs='+', type=Path)
    parser.add_argument('--pictures', type=Path, help='folder for a picture of each')
    options = parser.parse_args(argv)
    program = find_browser()
    if program is None:
        raise FileNotFoundError('no Chromium on the path')
    faults: list[str] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = Browser(program, Path(folder))
        try:
            for page in options.pages:
                for seen in look_at(browser, page, options.pictures):
                    print(
                        f'{page.name}, {seen.width} px, {seen.scheme}: '
                        f'{max(0, seen.overflow)} px too wide, smallest text '
                        f'{seen.smallest[0]:.1f} px, {len(seen.faint)} faint'
                    )
                    faults += seen.faults
        finally:
            browser.close()
    print('\n'.join(faults))
    return int(bool(faults))


if __name__ == '__main__':
    sys.exit(main())
