"""Thermal images checked against the camera: is it heat at all, and of which polarity.

Near infrared is light: it shows the details that the camera shows, which heat does not. Heat is
told from cold by what streets have in common: the sky is colder than the road, and what stands
out in the small (people, exhausts, lamps) is warmer than what is around it.
"""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.findings import Finding
from sam_ad_perception.core.sensors import CameraModel, Modality, SensorBundle, SensorFrame

SAME_DETAILS = 0.72
"""Correlation of details: at most 0.38 in 24 pairs of thermal and colour, 0.98 with one colour."""
_COLUMNS, _BLUR = 96, 9
_LEAST_SHARE, _LEAST_LOOKS, _KEPT = 0.25, 3, 9
_EACH_UNTIL, _THEN = 9, 32
_WARM_SKY, _NO_SPOTS, _COLD_SPOTS = 0.3, 0.2, -2.0


class ThermalLook:
    """Looks at the thermal images of bundles: all of the first ones, then one of 32.

    Args:
        black_hot: Whether warm is dark as the images come (they are inverted before).
    """

    def __init__(self, *, black_hot: bool = False) -> None:
        self._black_hot = black_hot
        self._count = 0
        self._alike: deque[float] = deque(maxlen=_KEPT)
        self._polarity: deque[tuple[float, float]] = deque(maxlen=_KEPT)
        self._found: tuple[Finding, ...] = ()

    def look(self, bundle: SensorBundle) -> tuple[Finding, ...]:
        """Look at a bundle, where it is its turn.

        Args:
            bundle: Its images are read.

        Returns:
            What was found in this and the bundles before it.
        """
        frame = bundle.frames.get(Modality.THERMAL)
        if frame is None or not isinstance(frame.data, np.ndarray):
            return ()
        self._count += 1
        if self._count > _EACH_UNTIL and self._count % _THEN:
            return self._found
        heat = _small(frame.data)
        self._polarity.append(polarity_signs(heat))
        camera = bundle.frames.get(Modality.VIEW)
        T = bundle.T_camera.get(Modality.THERMAL)
        if camera is not None and T is not None and isinstance(camera.data, np.ndarray):
            alike = details_in_common(camera.data, bundle.camera, heat, frame, T)
            if alike is not None:
                self._alike.append(alike)
        self._found = tuple(self._judge())
        return self._found

    def _judge(self) -> list[Finding]:
        sensor = str(Modality.THERMAL)
        alike = float(np.median(self._alike)) if self._alike else 0.0
        if alike > SAME_DETAILS:
            return [
                Finding(
                    'image.role',
                    sensor,
                    f'it shows the details that the camera shows (correlation {alike:.2f}), as '
                    'light does and heat does not: near infrared',
                    'name the topic of the thermal camera, or leave it out',
                    out=True,
                    figure=alike,
                )
            ]
        if len(self._polarity) < _LEAST_LOOKS:
            return []
        sky, spots = (float(np.median([each[k] for each in self._polarity])) for k in (0, 1))
        if not (spots < _COLD_SPOTS or (sky > _WARM_SKY and spots < _NO_SPOTS)):
            return []
        now, other = ('black', 'white') if self._black_hot else ('white', 'black')
        what = 'the sky is warmer than the road' if sky > _WARM_SKY else 'single spots are cold'
        return [
            Finding(
                'image.polarity',
                sensor,
                f'read as {now}-hot, {what}: is it {other}-hot?',
                f'plausibility.thermal_polarity: {other}_hot',
                figure=sky if sky > _WARM_SKY else spots,
            )
        ]


def polarity_signs(heat: NDArray[np.float32]) -> tuple[float, float]:
    """Tell whether warm is bright.

    Args:
        heat: (h, w) a small thermal image, any unit.

    Returns:
        How much warmer the upper quarter is than the lower 40 %, over the range of values; and
        the skewness of details: positive where what stands out is warm.
    """
    low, middle, high = np.percentile(heat, (1, 50, 99))
    if high <= low:
        return 0.0, 0.0
    values = (heat - middle) / (high - low)
    rows = len(values)
    sky = float(values[: rows // 4].mean() - values[-(2 * rows) // 5 :].mean())
    details = values - cv2.blur(values, (_BLUR, _BLUR))
    size = float(details.std())
    return sky, float((details**3).mean()) / max(size, 1e-6) ** 3


def details_in_common(
    image: NDArray[np.generic],
    camera: CameraModel,
    heat: NDArray[np.float32],
    frame: SensorFrame,
    T_camera_thermal: NDArray[np.float64],
) -> float | None:
    """Correlate the details of a thermal image with those of the camera's, at infinity.

    Args:
        image: (H, W, 3) uint8 RGB.
        camera: Its geometry.
        heat: (h, w) the thermal image, made small.
        frame: The thermal frame that it was made of.
        T_camera_thermal: (4, 4), metres.

    Returns:
        Correlation in [-1, 1]; None where the lens of one is unknown, or they share no view.
    """
    lens = frame.camera
    if lens is None or lens.unknown_lens or camera.unknown_lens:
        return None
    light = _small(image)
    shrink = np.diag([light.shape[1] / image.shape[1], light.shape[0] / image.shape[0], 1.0])
    warm = np.diag([heat.shape[1] / lens.width, heat.shape[0] / lens.height, 1.0])
    turn = T_camera_thermal[:3, :3].T
    H = warm @ lens.K @ turn @ np.linalg.inv(camera.K) @ np.linalg.inv(shrink)
    size = (light.shape[1], light.shape[0])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = cv2.warpPerspective(np.ones_like(heat), H, size, flags=flags)
    inside = cv2.erode(seen, np.ones((5, 5), np.uint8)) > 0.99
    if inside.mean() < _LEAST_SHARE:
        return None
    moved = cv2.warpPerspective(heat, H, size, flags=flags)
    a, b = (each - cv2.blur(each, (_BLUR, _BLUR)) for each in (light, moved))
    a, b = a[inside], b[inside]
    power = float((a * a).mean() * (b * b).mean())
    return float((a * b).mean()) / max(power, 1e-12) ** 0.5


def _small(image: NDArray[np.generic]) -> NDArray[np.float32]:
    """A small grey copy, (h, 96)."""
    step = max(1, image.shape[1] // (3 * _COLUMNS))
    part = np.ascontiguousarray(image[::step, ::step])
    rows = max(8, round(_COLUMNS * image.shape[0] / image.shape[1]))
    size = (_COLUMNS, rows)
    if part.ndim == 3:
        part = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY)
    return np.asarray(
        cv2.resize(part.astype(np.float32), size, interpolation=cv2.INTER_AREA), np.float32
    )
