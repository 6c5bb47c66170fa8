"""The encoding `libcaer_cmp`, through `event_camera_py`: the one place that knows that package.

It belongs to the event camera drivers (Apache-2.0) and is no requirement: it comes as a package
of the ROS distribution, not from PyPI, and nothing but this encoding needs it.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.events.codecs import Columns
from sam_ad_perception.core.events.packets import EventDecodeError, EventPacket

_PACKAGE = 'event_camera_py'
_WRAP_US = 1 << 32


class LibcaerCmpDecoder:
    """Decodes the packets of one sensor, in their order.

    Raises:
        EventDecodeError: `event_camera_py` is not installed.
    """

    def __init__(self) -> None:
        try:
            module: Any = importlib.import_module(_PACKAGE)
        except ImportError as err:
            raise EventDecodeError(
                f'encoding libcaer_cmp needs {_PACKAGE}, which is not installed '
                '(apt install ros-$ROS_DISTRO-event-camera-py), '
                'or set the driver to the encoding libcaer'
            ) from err
        self._decoder = module.Decoder()
        self._previous = 0
        self._high = 0

    def decode(self, packet: EventPacket) -> tuple[Columns, int, int]:
        """Decode one packet.

        Args:
            packet: Its encoding is `libcaer_cmp`.

        Returns:
            x, y, polarity and time of the N events, those of the sensor clock since its first
            packet, continued across rollovers, microseconds; the number of rollovers of the
            decoder's 32-bit time in this packet; the time of the last event.

        Raises:
            EventDecodeError: The decoder refuses the packet.
        """
        height, width = packet.size
        try:
            self._decoder.decode_bytes(
                packet.encoding, width, height, packet.time_base_ns, packet.data.tobytes()
            )
        except (RuntimeError, TypeError) as err:
            raise EventDecodeError(f'events: {_PACKAGE} refuses the packet: {err}') from err
        events = self._decoder.get_cd_events()
        t_us, rollovers = self._unwrap(events['t'])
        columns = (
            np.ascontiguousarray(events['x']),
            np.ascontiguousarray(events['y']),
            events['p'] != 0,
            t_us,
        )
        return columns, rollovers, self._high + self._previous

    def _unwrap(self, t: NDArray[np.int32]) -> tuple[NDArray[np.int64], int]:
        """Continue 32-bit times across their rollovers; hold those that step back a little."""
        if t.size == 0:
            return np.zeros(0, np.int64), 0
        wide = t.astype(np.int64)
        wraps = np.cumsum(np.diff(wide, prepend=self._previous) < -_WRAP_US // 2)
        wide += self._high + wraps * _WRAP_US
        self._high += int(wraps[-1]) * _WRAP_US
        self._previous = int(t[-1])
        return np.maximum.accumulate(wide), int(wraps[-1])
