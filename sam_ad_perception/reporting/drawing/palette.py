"""Colours of the report, `#rrggbb`: one per sensor, condition and network, in all its pictures."""

from __future__ import annotations

from types import MappingProxyType

from sam_ad_perception.core.sensors import Modality

SENSORS = MappingProxyType({str(m): m.record.color for m in Modality})
CONDITIONS = MappingProxyType(
    {
        'day': '#fde9a9',
        'dusk': '#f4c08a',
        'night': '#2c3a5a',
        'tunnel': '#2c3a5a',
        'glare': '#fff3c4',
        'fog': '#cfd5da',
        'rain': '#8fb2d1',
        'snow': '#e6f1f8',
    }
)
NETWORKS = ('#44566c', '#a15c7a', '#4c7a30', '#8a5f1a', '#6b5ca5')
MISSING, NOTED, UNKNOWN = '#c93434', '#f2b01e', '#d5d9de'
_WHITE, _DARK, _BLACK = '#ffffff', '#1d2530', '#000000'
_READABLE = 4.5
"""Least contrast of text by WCAG 2 AA; black or white has it on every colour."""


def condition_color(name: str) -> str:
    """The colour of a condition; of joined ones as night+rain that of the first."""
    return CONDITIONS.get(name.split('+')[0], UNKNOWN)


def rgb(color: str) -> tuple[int, int, int]:
    """Red, green and blue of `#rrggbb`, 0 to 255."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def text_on(color: str) -> str:
    """Dark or white, whichever has the higher contrast; black where that one is too low."""
    best = max((_WHITE, _DARK), key=lambda each: contrast(each, color))
    return best if contrast(best, color) >= _READABLE else _BLACK


def contrast(a: str, b: str) -> float:
    """Contrast of two colours as WCAG 2 defines it, 1 to 21."""
    darker, lighter = sorted((_luminance(a), _luminance(b)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(color: str) -> float:
    """Relative luminance of sRGB, 0 to 1."""
    shares = [channel / 255 for channel in rgb(color)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
