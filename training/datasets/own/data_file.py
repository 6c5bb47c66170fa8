"""The YAML file that tells where own pictures, masks, thermal images, depth and clouds are.

    camera: images              a folder, or a pattern such as drive_*/camera/*.png
    labels: masks               files of one frame have equal names (what `*` stands for)
    names: [road, person, car]

Also: `path` (what the others are relative to, default the file's folder), `thermal`, `depth`,
`lidar`, `calibration`, `colours`, `ignore`, `aliases`, `train`, `val`, `test` (folders, patterns,
lists of names in .txt, recordings, or a share such as 0.2 that is split by drive), `start`, and
`training` for settings of `training.train`. Thermal images are grey pictures, depth is a picture
of millimetres in 16 bits or an array of metres, clouds are arrays (.npy) or float32 rows of x, y,
z, intensity (.bin).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from sam_ad_perception.core.console.suggestions import did_you_mean
from sam_ad_perception.core.label_files import label_space_from
from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.settings.yaml_documents import read_yaml
from sam_ad_perception.core.settings.yaml_records import build_record
from training.frames.frame import DatasetError


@dataclass(frozen=True)
class DataFile:
    """What the file of own data says; see the module.

    Attributes:
        names: Classes in the order of their ids, or id to name.
        path: Folder that the others are relative to; relative to the file's own.
        camera: Folder or pattern of the camera's pictures.
        thermal: Of thermal images.
        depth: Of depth images.
        lidar: Of clouds.
        labels: Of label pictures.
        calibration: File of transforms and camera geometry, which clouds need.
        train: Which frames are learned from.
        val: Which are measured on during training.
        test: Which are measured on afterwards.
        colours: Name to colour.
        ignore: Id of pixels without a label.
        aliases: Other name of a class to its name.
        start: Entry of the zoo, or file of weights, that training starts from.
        training: Settings of `training.train`.
    """

    names: object
    path: str = ''
    camera: str = ''
    thermal: str = ''
    depth: str = ''
    lidar: str = ''
    labels: str = ''
    calibration: str = ''
    train: object = None
    val: object = None
    test: object = None
    colours: object = None
    ignore: int = 255
    aliases: Mapping[str, str] = field(default_factory=dict)
    start: str = 'mle_sam_demo'
    training: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class OwnData:
    """A file of own data with what it leads to.

    Attributes:
        file: What it says.
        source: The file.
        root: Folder that its patterns are relative to.
        space: The classes.
    """

    file: DataFile
    source: Path
    root: Path
    space: LabelSpace


def read_data_file(source: Path) -> OwnData:
    """Read the file of own data.

    Args:
        source: YAML file.

    Returns:
        What it says.

    Raises:
        DatasetError: It cannot be read, or a field is unknown or wrong.
    """
    try:
        content = read_yaml(source)
        if not isinstance(content, Mapping):
            raise ValueError(f'{source} must hold a mapping, got {content!r}')
        known = [f.name for f in fields(DataFile)]
        content = {('colours' if key == 'colors' else key): v for key, v in content.items()}
        for key in content:
            if key not in known:
                raise ValueError(
                    f'{source} has an unknown field {key!r}{did_you_mean(str(key), known)}'
                    f'; known are {", ".join(known)}'
                )
        file = build_record(DataFile, content, source.name)
        of_space = ('names', 'colours', 'ignore', 'aliases')
        meaning = {key: content[key] for key in of_space if key in content}
        space = label_space_from(meaning, source.stem, str(source))
    except (ValueError, OSError) as error:
        raise DatasetError(str(error)) from error
    root = (source.parent / Path(file.path).expanduser()).resolve()
    if not root.is_dir():
        raise DatasetError(f'{source}: path {root} is not a folder')
    return OwnData(file, source, root, space)
