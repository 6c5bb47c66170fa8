"""Light and weather: what they are made of, their names, and their change during a drive.

A `Condition` holds numbers only, so that two of them can be blended. Each number says what it is
physically; what it does to a sensor stands with that sensor: `lamps` and `atmosphere` (what
reaches the lens), `optics` (lens and pixels), `thermal`, `lidar_weather`, `events`.

Names may be joined, light first: `night+rain`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType

import numpy as np

from sam_ad_perception.core.console.suggestions import did_you_mean
from sam_ad_perception.simulation.weather.daylight import Weather

VISIBILITY_CONTRAST = 0.02
"""Contrast at which a dark object on the horizon is just seen, which defines visibility
(Koschmieder 1924): extinction = -ln(0.02) / visibility = 3.912 / visibility."""
Schedule = tuple[tuple[float, str], ...]
"""Times in seconds since the start of the drive, ascending, and the condition from then on."""


@dataclass(frozen=True)
class Condition:
    """Light and weather at one time. The defaults are the plain day of the seed.

    Attributes:
        sun: Gain of direct sunlight.
        sky: Gain of the light of the sky.
        dusk: How much the sky is that of dusk, 0 to 1: low sun, orange horizon.
        ahead: How much the sun stands low before the vehicle, 0 to 1.
        glare: Light of the sun's disc that the lens scatters over the picture.
        lamps: Gain of headlights, street lamps and lit windows.
        gain: Amplification of the camera beside that of the day.
        shutter_s: Exposure time of the camera that blurs what moves, seconds; 0: no blur.
        grain: Standard deviation of the camera's read noise, share of white, before gamma.
        shot: Variance of the camera's shot noise per unit of light (share of white).
        extinction: Of fog, 1/m, by Koschmieder `fog_extinction`.
        rain: Rain rate, mm/h.
        snow: Snow rate as water, mm/h.
        snow_cover: Share of the ground under snow, 0 to 1.
        wetness: Of surfaces, 0 to 1.
        drops: Water drops on the lens.
        cooling: How much night has cooled what the sun had warmed, 0 to 1.
        event_gain: Light on an event camera, which has no exposure, over that on the camera.
        event_noise_hz: Spurious events per pixel and second beside those of the day.
    """

    sun: float = 1.0
    sky: float = 1.0
    dusk: float = 0.0
    ahead: float = 0.0
    glare: float = 0.0
    lamps: float = 0.0
    gain: float = 1.0
    shutter_s: float = 0.0
    grain: float = 0.0
    shot: float = 0.0
    extinction: float = 0.0
    rain: float = 0.0
    snow: float = 0.0
    snow_cover: float = 0.0
    wetness: float = 0.0
    drops: float = 0.0
    cooling: float = 0.0
    event_gain: float = 1.0
    event_noise_hz: float = 0.0

    @property
    def visible_extinction(self) -> float:
        """Extinction of visible and near infrared light by all that floats and falls, 1/m."""
        return self.extinction + rain_extinction(self.rain) + snow_extinction(self.snow)


def fog_extinction(visibility_m: float) -> float:
    """Extinction (1/m) of fog with a visibility.

    Koschmieder (1924) with a contrast of 2 %. Below 500 m it is the same at 905 nm as in visible
    light (Kim, McArthur and Korevaar, SPIE 4214, 2001: q = 0), so one number serves camera and
    lidar.
    """
    return -float(np.log(VISIBILITY_CONTRAST)) / visibility_m


def rain_extinction(rate_mm_h: float) -> float:
    """Extinction (1/m) of rain, 1.076 R^0.67 dB/km (Carbonneau; ITU-R P.1814)."""
    return 1.076 * rate_mm_h**0.67 * _PER_DB_KM if rate_mm_h > 0 else 0.0


def snow_extinction(rate_mm_h: float) -> float:
    """Extinction (1/m) of dry snow, 5.55 S^1.38 dB/km near 905 nm (ITU-R P.1814)."""
    return 5.55 * rate_mm_h**1.38 * _PER_DB_KM if rate_mm_h > 0 else 0.0


_PER_DB_KM = float(np.log(10.0)) / 10.0 / 1000.0

DAY = Condition()
LIGHTS: Mapping[str, Condition] = MappingProxyType(
    {
        'day': DAY,
        'dusk': Condition(
            sun=0.10, sky=0.13, dusk=1.0, lamps=0.35, gain=2.0, shutter_s=0.010, grain=0.004,
            shot=0.0006, cooling=0.35, event_gain=0.5, event_noise_hz=0.6,
        ),
        'night': Condition(
            sun=0.0, sky=0.006, dusk=0.0, lamps=1.0, gain=1.0, shutter_s=0.025, grain=0.009,
            shot=0.0016, cooling=1.0, event_gain=0.3, event_noise_hz=2.0,
        ),
        'glare': Condition(ahead=1.0, glare=1.0, sun=1.0, gain=1.15),
    }
)  # fmt: skip
"""Conditions of light."""
WEATHERS: Mapping[str, Condition] = MappingProxyType(
    {
        'fog': Condition(sun=0.05, sky=0.85, extinction=fog_extinction(75.0), wetness=0.3),
        'rain': Condition(sun=0.0, sky=0.62, rain=25.0, wetness=1.0, drops=1.0, gain=1.15,
                          shutter_s=0.006, grain=0.003, shot=0.0003,
                          extinction=fog_extinction(900.0)),
        'snow': Condition(sun=0.05, sky=0.8, snow=3.0, snow_cover=0.75, wetness=0.3,
                          shutter_s=0.005, extinction=fog_extinction(600.0), cooling=0.5),
    }
)  # fmt: skip
"""Conditions of the air; they are joined with a light."""
CONDITIONS = (*LIGHTS, *WEATHERS)
"""Names of the conditions that can be joined with `+`."""


def find_condition(name: str) -> Condition:
    """The condition of a name.

    Args:
        name: One of `CONDITIONS`, or a light and a weather as in `night+rain`.

    Returns:
        The condition; gains of joined ones are multiplied, of all else the larger one holds.

    Raises:
        ValueError: The name is unknown.
    """
    made = DAY
    for part in name.split('+'):
        known = LIGHTS.get(part) or WEATHERS.get(part)
        if known is None:
            raise ValueError(
                f'condition must be one of {list(CONDITIONS)}, or two joined as in night+rain, '
                f'got {name!r}{did_you_mean(part, [*LIGHTS, *WEATHERS])}'
            )
        made = _join(made, known)
    return made


def _join(a: Condition, b: Condition) -> Condition:
    gains = {n: getattr(a, n) * getattr(b, n) for n in ('sun', 'sky', 'gain', 'event_gain')}
    rest = {
        f.name: max(getattr(a, f.name), getattr(b, f.name))
        for f in fields(Condition)
        if f.name not in gains
    }
    return Condition(**gains, **rest)


def blend(a: Condition, b: Condition, share: float) -> Condition:
    """The condition on the way from `a` (share 0) to `b` (share 1)."""
    if share <= 0.0 or a == b:
        return a
    if share >= 1.0:
        return b
    names = [f.name for f in fields(Condition)]
    return Condition(**{n: (1 - share) * getattr(a, n) + share * getattr(b, n) for n in names})


def condition_at(schedule: Sequence[tuple[float, str]], elapsed_s: float, ramp_s: float
                 ) -> Condition:  # fmt: skip
    """The condition at a time.

    Args:
        schedule: See `Schedule`; its first entry also holds before its time.
        elapsed_s: Time since the start of the drive, seconds.
        ramp_s: How long a change takes, from its time on, seconds.

    Returns:
        The condition.
    """
    current = find_condition(schedule[0][1])
    for start_s, name in schedule[1:]:
        if elapsed_s < start_s:
            break
        share = (elapsed_s - start_s) / ramp_s if ramp_s > 0 else 1.0
        current = blend(current, find_condition(name), share)
    return current


def check_schedule(schedule: Sequence[tuple[float, str]]) -> None:
    """Refuses a schedule.

    Raises:
        ValueError: A name is unknown, or times do not ascend.
    """
    times = [start for start, _ in schedule]
    if sorted(set(times)) != times:
        raise ValueError(f'times of conditions must ascend, got {times}')
    for _, name in schedule:
        find_condition(name)


def weather_under(weather: Weather, condition: Condition) -> Weather:
    """The weather of the seed under a condition: sun, sky, air.

    Args:
        weather: Of the scene's day.
        condition: What holds now.

    Returns:
        The weather to shade with; under `DAY` the same.
    """
    if condition == DAY:
        return weather
    c = condition
    overcast = 1.0 - float(np.exp(-0.15 * c.rain - 0.7 * c.snow - 60.0 * c.extinction))
    clouds = weather.clouds + (1.0 - weather.clouds) * overcast
    clouds *= 1.0 - 0.8 * max(c.ahead, c.dusk) * (1.0 - overcast)
    # The low orange sun of dusk; and under clouds all is grey.
    zenith = _mix(weather.zenith, (0.28, 0.42, 0.80), c.dusk)
    horizon = _mix(weather.horizon, (1.5, 0.85, 0.48), c.dusk * (1.0 - overcast))
    strength = weather.sun_strength + c.ahead * (1.35 - weather.sun_strength)
    grey = (0.66, 0.69, 0.72)
    zenith, horizon = _mix(zenith, grey, overcast), _mix(horizon, grey, overcast)
    return replace(
        weather,
        sun=_sun(weather.sun, c),
        sun_strength=strength * c.sun * (1.0 - overcast),
        sky_strength=weather.sky_strength * c.sky,
        zenith=_scale(zenith, c.sky),
        horizon=_scale(horizon, c.sky),
        clouds=clouds,
        exposure=weather.exposure * c.gain,
        air=weather.air - 6.0 * c.cooling - min(1.0, c.snow) * max(0.0, weather.air - 2.0),
    )


Triple = tuple[float, float, float]


def _mix(a: Triple, b: Triple, share: float) -> Triple:
    x, y, z = ((1.0 - share) * p + share * q for p, q in zip(a, b, strict=True))
    return x, y, z


def _scale(a: Triple, gain: float) -> Triple:
    return a[0] * gain, a[1] * gain, a[2] * gain


def _sun(sun: Triple, c: Condition) -> Triple:
    """Lowers the sun at dusk, and brings it before the vehicle (which drives along +x)."""
    azimuth, elevation = np.arctan2(sun[1], sun[0]), np.arcsin(sun[2])
    elevation += c.dusk * (np.deg2rad(9.0) - elevation)
    elevation += c.ahead * (np.deg2rad(10.0) - elevation)
    azimuth *= 1.0 - 0.9 * c.ahead
    return (
        float(np.cos(azimuth) * np.cos(elevation)),
        float(np.sin(azimuth) * np.cos(elevation)),
        float(np.sin(elevation)),
    )
