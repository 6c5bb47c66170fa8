"""How the frames of a run are changed at random before the network sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from training.configuration.fault_cases import fault_cases

SCALE_DRAWS = ('log', 'uniform')


@dataclass(frozen=True)
class CorruptionConfig:
    """Sensors that fail, by modality and probability: `{camera: 0.1, lidar: 0.2}`.

    Attributes:
        drop: A batch goes without the sensor, beside what `subsets` drops; one always stays.
        noise: White noise on a frame.
        noise_std: Its standard deviation, in the units of the network's inputs.
        blackout: A frame has its lowest value everywhere, as of a camera in the dark or a lidar
            without returns.
        jitter: A frame is shifted against the others, as of a mount that shakes.
        jitter_px: Farthest shift along each axis, network pixels.
        exposure: A frame has too much or too little light; what is too bright clips.
        exposure_stops: Most doublings or halvings of the light.
        veil: A frame loses contrast, as behind fog or a dirty lens.
        veil_kept: Least share of its contrast that stays.

    Raises:
        ValueError: A field is out of range.
    """

    drop: Mapping[str, float] = field(default_factory=dict)
    noise: Mapping[str, float] = field(default_factory=dict)
    noise_std: float = 0.5
    blackout: Mapping[str, float] = field(default_factory=dict)
    jitter: Mapping[str, float] = field(default_factory=dict)
    jitter_px: int = 8
    exposure: Mapping[str, float] = field(default_factory=dict)
    exposure_stops: float = 3.0
    veil: Mapping[str, float] = field(default_factory=dict)
    veil_kept: float = 0.1

    def __post_init__(self) -> None:
        for kind in ('drop', 'noise', 'blackout', 'jitter', 'exposure', 'veil'):
            for name, share in getattr(self, kind).items():
                if not 0 <= share <= 1:
                    raise ValueError(f'{kind}.{name} must be in [0, 1], got {share}')
        for name in ('noise_std', 'jitter_px', 'exposure_stops'):
            if getattr(self, name) < 0:
                raise ValueError(f'{name} must be 0 or more, got {getattr(self, name)}')
        if not 0 <= self.veil_kept <= 1:
            raise ValueError(f'veil_kept must be in [0, 1], got {self.veil_kept}')

    @property
    def kinds(self) -> tuple[Mapping[str, float], ...]:
        """Every kind of failure, by sensor."""
        return (self.drop, self.noise, self.blackout, self.jitter, self.exposure, self.veil)

    @property
    def sensors(self) -> set[str]:
        """The sensors that are named."""
        return {name for kind in self.kinds for name in kind}


@dataclass(frozen=True)
class AugmentationConfig:
    """Random changes. Those of whole frames need frames on disk: rendered ones are as they are.

    Attributes:
        vary: Whether batches are mirrored, and contrast, brightness and noise of each sensor
            varied a little.
        scales: Least and greatest size of a frame before a piece of the network's input size is
            cut out of it, relative to that size; what is missing around a smaller frame is
            unlabeled.
        scale_draw: `log` draws sizes below 1 as often as above, `uniform` evenly.
        keep_aspect: Whether a frame keeps its proportions when it is scaled, with `scales`
            relative to the shorter side; else it is stretched like the network's input.
        piece: Size `(H, W)` of that piece, pixels, where it is to be another one: a smaller piece
            takes less time. Empty for the network's input size.
        flip: Probability that a frame is mirrored.
        colour: Probability that the camera's colours are changed.
        brightness: Of these, the greatest change of the brightness, as a share.
        contrast: Likewise of the contrast.
        saturation: Likewise of the saturation.
        hue: Likewise of the hue, as a share of the colour circle, at most 0.5.
        blur: Probability that the camera's picture is blurred.
        faults: By modality, probability that one of the faults of `simulation.faults.effects`
            befalls
            what the sensor measured, before anything is made of it; which one is drawn.
        corruption: Sensors that fail, of all frames.

    Raises:
        ValueError: A field is out of range, or faults of a sensor that has none.
    """

    vary: bool = True
    scales: tuple[float, float] = (1.0, 1.0)
    scale_draw: str = 'log'
    keep_aspect: bool = False
    piece: tuple[int, ...] = ()
    flip: float = 0.0
    colour: float = 0.0
    brightness: float = 0.3
    contrast: float = 0.3
    saturation: float = 0.3
    hue: float = 0.05
    blur: float = 0.0
    faults: Mapping[str, float] = field(default_factory=dict)
    corruption: CorruptionConfig = field(default_factory=CorruptionConfig)

    def __post_init__(self) -> None:
        if not 0 < self.scales[0] <= self.scales[1]:
            raise ValueError(f'scales must be positive and rising, got {self.scales}')
        if self.scale_draw not in SCALE_DRAWS:
            raise ValueError(f'scale_draw must be one of {SCALE_DRAWS}, got {self.scale_draw!r}')
        if self.piece and (len(self.piece) != 2 or min(self.piece) < 1):
            raise ValueError(f'piece must be (H, W) in pixels or empty, got {self.piece}')
        for name in ('flip', 'colour', 'blur', 'brightness', 'contrast', 'saturation'):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f'{name} must be in [0, 1], got {getattr(self, name)}')
        for name, share in self.faults.items():
            if not fault_cases([name], 'all') or not 0 <= share <= 1:
                raise ValueError(
                    f'faults must name sensors with probabilities in [0, 1], got {name}: {share}'
                )
        if not 0 <= self.hue <= 0.5:
            raise ValueError(f'hue must be in [0, 0.5], got {self.hue}')

    def piece_of(self, size: tuple[int, int]) -> tuple[int, int]:
        """Size `(H, W)` of the piece that is cut out, pixels, for a network's input size."""
        return (self.piece[0], self.piece[1]) if self.piece else size

    @property
    def sensors(self) -> set[str]:
        """The sensors that are to fail."""
        return {*self.faults, *self.corruption.sensors}

    @property
    def repeats(self) -> bool:
        """Whether images come again as they were, or mirrored."""
        shares = [self.colour, self.blur, *self.faults.values()]
        for kind in self.corruption.kinds:
            shares += kind.values()
        changed = bool(self.piece) or self.keep_aspect or self.scales != (1.0, 1.0)
        return not (self.vary or changed or max(shares) > 0)

    @property
    def of_frames(self) -> bool:
        """Whether single frames are changed, which rendered ones cannot be."""
        shares = (self.flip, self.colour, self.blur, *self.faults.values())
        cut = bool(self.piece) or self.keep_aspect or self.scales != (1.0, 1.0)
        return cut or max(shares) > 0
