"""Label spaces: what an id in a mask means, its colour, and how one space reads in another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

UNLABELED = 255
"""The id of a pixel without a label, in every mask and every space (vision_msgs' convention)."""


@dataclass(frozen=True)
class LabelClass:
    """One class.

    Attributes:
        id: Its value in a mask.
        name: Its name, in the words of the data set.
        color: Red, green, blue.
    """

    id: int
    name: str
    color: tuple[int, int, int]


@dataclass(frozen=True)
class LabelSpace:
    """The classes of a data set, their ids and their palette.

    Attributes:
        name: Key in `LABEL_SPACES`, or the name of own classes.
        classes: Ordered by id, from 0 without gaps.
        ignore_id: Value of a pixel without a label.
        aliases: Pairs of another name (as of another data set) and the class that it means here.

    Raises:
        ValueError: Ids have gaps, names repeat, or a class takes the ignore id.
    """

    name: str
    classes: tuple[LabelClass, ...]
    ignore_id: int = UNLABELED
    aliases: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        ids = [c.id for c in self.classes]
        if ids != list(range(len(ids))) or not ids:
            raise ValueError(f'label space {self.name!r}: ids must be 0, 1, 2, ..., got {ids}')
        if len(set(self.names)) != len(ids):
            raise ValueError(f'label space {self.name!r}: a class name is given twice')
        if self.ignore_id < len(ids) or self.ignore_id > 255:
            raise ValueError(
                f'label space {self.name!r}: ignore id {self.ignore_id} must be a free uint8'
            )

    def __len__(self) -> int:
        """The number of classes."""
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names in the order of their ids."""
        return tuple(c.name for c in self.classes)

    def id_of(self, name: str) -> int:
        """Find a class's id.

        Args:
            name: The class.

        Returns:
            Its id.

        Raises:
            ValueError: The space has no such class.
        """
        for each in self.classes:
            if each.name == name:
                return each.id
        raise ValueError(f'label space {self.name!r} has no class {name!r}, it has {self.names}')

    @cached_property
    def palette(self) -> NDArray[np.uint8]:
        """(256, 3) uint8, RGB by id; black for the ignore id and for ids without a class."""
        palette = np.zeros((256, 3), dtype=np.uint8)
        for each in self.classes:
            palette[each.id] = each.color
        palette.flags.writeable = False
        return palette


def mapping(source: LabelSpace, target: LabelSpace) -> NDArray[np.uint8]:
    """Look up how ids of one space read in another.

    Args:
        source: Space of the mask.
        target: Space to read it in.

    Returns:
        (256,) uint8: source id to target id; 255 where the target has no such class.

    Raises:
        ValueError: No table relates the two spaces.
    """
    return _mapping(source, target)


@lru_cache(maxsize=64)
def _mapping(source: LabelSpace, target: LabelSpace) -> NDArray[np.uint8]:
    """Build the table of `mapping` once per pair."""
    key = _family(source), _family(target)
    if key[0] == key[1] and set(source.names) <= set(target.names):
        names = {name: name for name in source.names}
    elif key in _MAPPINGS:
        names = dict(_MAPPINGS[key])
    elif own := _same_names(source, target):
        names = own
    else:
        known = ', '.join(f'{a} -> {b}' for a, b in _MAPPINGS)
        raise ValueError(
            f'no mapping from label space {source.name!r} to {target.name!r}; there are {known}'
        )
    table = np.full(256, target.ignore_id, dtype=np.uint8)
    for name, other in names.items():
        table[source.id_of(name)] = target.id_of(other)
    table.flags.writeable = False
    return table


def _same_names(source: LabelSpace, target: LabelSpace) -> dict[str, str]:
    """Relate own classes by their names and aliases; none of two spaces that are built in."""
    built_in = LABEL_SPACES.values()
    if source in built_in and target in built_in:
        return {}
    known = {name.casefold(): name for name in target.names}
    known |= {alias.casefold(): name for alias, name in target.aliases}
    means = {name: [name.casefold()] for name in source.names}
    for alias, name in source.aliases:
        means[name].append(alias.casefold())
    found = {n: next((known[w] for w in words if w in known), '') for n, words in means.items()}
    return {name: other for name, other in found.items() if other}


def _family(space: LabelSpace) -> str:
    """Name under which the space's relations are listed: BDD100K and MUSES are Cityscapes."""
    same = space.names == LABEL_SPACES['cityscapes'].names
    return 'cityscapes' if same else space.name


def apply_mapping(mask: NDArray[np.uint8], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Translate a mask.

    Args:
        mask: (H, W) uint8 ids.
        table: (256,) uint8 from `mapping`.

    Returns:
        (H, W) uint8 ids of the other space.

    Raises:
        ValueError: The mask is not uint8, or the table does not cover all 256 ids.
    """
    if mask.dtype != np.uint8:
        raise ValueError(f'a mask must be uint8, got {mask.dtype}')
    if table.shape != (256,) or table.dtype != np.uint8:
        raise ValueError(f'a label table must be (256,) uint8, got {table.shape} {table.dtype}')
    return np.take(table, mask)


def _space(name: str, classes: str) -> LabelSpace:
    """Read a space from lines of `name r g b` in the order of the ids."""
    made = []
    for index, line in enumerate(classes.strip().splitlines()):
        label, *rgb = line.rsplit(maxsplit=3)
        r, g, b = (int(v) for v in rgb)
        made.append(LabelClass(index, label.strip(), (r, g, b)))
    return LabelSpace(name, tuple(made))


_CITYSCAPES = """
    road 128 64 128
    sidewalk 244 35 232
    building 70 70 70
    wall 102 102 156
    fence 190 153 153
    pole 153 153 153
    traffic light 250 170 30
    traffic sign 220 220 0
    vegetation 107 142 35
    terrain 152 251 152
    sky 70 130 180
    person 220 20 60
    rider 255 0 0
    car 0 0 142
    truck 0 0 70
    bus 0 60 100
    train 0 80 100
    motorcycle 0 0 230
    bicycle 119 11 32
"""

_DELIVER = """
    Building 70 70 70
    Fence 100 40 40
    Other 55 90 80
    Pedestrian 220 20 60
    Pole 153 153 153
    RoadLine 157 234 50
    Road 128 64 128
    SideWalk 244 35 232
    Vegetation 107 142 35
    Cars 0 0 142
    Wall 102 102 156
    TrafficSign 220 220 0
    Sky 70 130 180
    Ground 81 0 81
    Bridge 150 100 100
    RailTrack 230 150 140
    GroundRail 180 165 180
    TrafficLight 250 170 30
    Static 110 190 160
    Dynamic 170 120 50
    Water 45 60 150
    Terrain 145 170 100
    TwoWheeler 0 0 230
    Bus 0 60 100
    Truck 0 0 70
"""

_MFNET = """
    unlabeled 0 0 0
    car 64 0 128
    person 64 64 0
    bike 0 128 192
    curve 0 0 192
    car_stop 128 128 0
    guardrail 64 64 128
    color_cone 192 128 128
    bump 192 64 0
"""

_FMB = """
    Road 179 228 228
    Sidewalk 181 57 133
    Building 67 162 177
    Lamp 200 178 50
    Sign 132 45 199
    Vegetation 66 172 84
    Sky 179 73 79
    Person 76 99 166
    Car 66 121 253
    Truck 137 165 91
    Bus 155 97 152
    Motorcycle 105 153 140
    Bicycle 222 215 158
    Pole 135 113 90
"""

_MCUBES = """
    asphalt 44 160 44
    concrete 31 119 180
    metal 255 127 14
    road_marking 214 39 40
    fabric 140 86 75
    glass 127 127 127
    plaster 188 189 34
    plastic 255 152 150
    rubber 23 190 207
    sand 174 199 232
    gravel 196 156 148
    ceramic 197 176 213
    cobblestone 247 182 210
    brick 199 199 199
    grass 219 219 141
    wood 158 218 229
    leaf 57 59 121
    water 107 110 207
    human 156 158 222
    sky 99 121 57
"""

_CAMVID = """
    Sky 128 128 128
    Building 128 0 0
    Pole 192 192 128
    Road 128 64 128
    Pavement 60 40 222
    Tree 128 128 0
    SignSymbol 192 128 128
    Fence 64 64 128
    Car 64 0 128
    Pedestrian 64 64 0
    Bicyclist 0 128 192
"""

LABEL_SPACES: Mapping[str, LabelSpace] = MappingProxyType(
    {
        space.name: space
        for space in (
            _space('cityscapes', _CITYSCAPES),
            _space('bdd100k', _CITYSCAPES),
            _space('muses', _CITYSCAPES),
            _space('deliver', _DELIVER),
            _space('mfnet', _MFNET),
            _space('fmb14', _FMB),
            _space('fmb15', '    background 0 0 0\n' + _FMB.strip('\n')),
            _space('mcubes', _MCUBES),
            _space('camvid', _CAMVID),
        )
    }
)
"""Every label space by name."""

_FMB_TO_CITYSCAPES = {
    'Road': 'road',
    'Sidewalk': 'sidewalk',
    'Building': 'building',
    'Lamp': 'traffic light',
    'Sign': 'traffic sign',
    'Vegetation': 'vegetation',
    'Sky': 'sky',
    'Person': 'person',
    'Car': 'car',
    'Truck': 'truck',
    'Bus': 'bus',
    'Motorcycle': 'motorcycle',
    'Bicycle': 'bicycle',
    'Pole': 'pole',
}

# A class that has no one counterpart is left out, and becomes 255: DELIVER's TwoWheeler is a
# motorcycle or a bicycle, CamVid's Bicyclist a rider and a bicycle. Bridges, guard rails and rail
# tracks are void among the 19 of Cityscapes. MCubeS names materials, which relate to no other.
_MAPPINGS: Mapping[tuple[str, str], Mapping[str, str]] = MappingProxyType(
    {
        ('deliver', 'cityscapes'): {
            'Building': 'building',
            'Fence': 'fence',
            'Pedestrian': 'person',
            'Pole': 'pole',
            'RoadLine': 'road',
            'Road': 'road',
            'SideWalk': 'sidewalk',
            'Vegetation': 'vegetation',
            'Cars': 'car',
            'Wall': 'wall',
            'TrafficSign': 'traffic sign',
            'Sky': 'sky',
            'TrafficLight': 'traffic light',
            'Terrain': 'terrain',
            'Bus': 'bus',
            'Truck': 'truck',
        },
        ('mfnet', 'cityscapes'): {'car': 'car', 'person': 'person', 'bike': 'bicycle'},
        ('fmb14', 'cityscapes'): _FMB_TO_CITYSCAPES,
        ('fmb15', 'cityscapes'): _FMB_TO_CITYSCAPES,
        ('fmb15', 'fmb14'): {name: name for name in _FMB_TO_CITYSCAPES},
        ('fmb14', 'fmb15'): {name: name for name in _FMB_TO_CITYSCAPES},
        ('camvid', 'cityscapes'): {
            'Sky': 'sky',
            'Building': 'building',
            'Pole': 'pole',
            'Road': 'road',
            'Pavement': 'sidewalk',
            'Tree': 'vegetation',
            'SignSymbol': 'traffic sign',
            'Fence': 'fence',
            'Car': 'car',
            'Pedestrian': 'person',
        },
        ('cityscapes', 'camvid'): {
            'sky': 'Sky',
            'building': 'Building',
            'wall': 'Building',
            'pole': 'Pole',
            'road': 'Road',
            'sidewalk': 'Pavement',
            'vegetation': 'Tree',
            'traffic sign': 'SignSymbol',
            'traffic light': 'SignSymbol',
            'fence': 'Fence',
            'car': 'Car',
            'truck': 'Car',
            'bus': 'Car',
            'person': 'Pedestrian',
            'rider': 'Bicyclist',
            'bicycle': 'Bicyclist',
        },
    }
)
