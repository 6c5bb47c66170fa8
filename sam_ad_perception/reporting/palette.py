"""Colours of the report, `#rrggbb`: one per sensor, condition and network, in all its pictures."""

from __future__ import annotations

from types import MappingProxyType

SENSORS = MappingProxyType(
    {
        'camera': '#3b82c4',
        'thermal': '#e8743b',
        'event': '#8e6bbf',
        'lidar': '#2f9e77',
        'depth': '#b59b00',
    }
)
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
NETWORKS = ('#44566c', '#a15c7a', '#5b8a3c', '#b07d2b', '#6b5ca5')
MISSING, NOTED, UNKNOWN = '#d64545', '#f2b01e', '#d5d9de'
_DARK_BELOW = 130


def condition_color(name: str) -> str:
    """The colour of a condition; of joined ones as night+rain that of the first."""
    return CONDITIONS.get(name.split('+')[0], UNKNOWN)


def rgb(color: str) -> tuple[int, int, int]:
    """Red, green and blue of `#rrggbb`, 0 to 255."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def text_on(color: str) -> str:
    """Black or white, whichever is read better on a colour."""
    r, g, b = rgb(color)
    return '#ffffff' if 0.3 * r + 0.59 * g + 0.11 * b < _DARK_BELOW else '#1d2530'
