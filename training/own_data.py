"""The run that a file of own data asks for: defaults that work on 20 frames and on 20,000."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sam_ad_perception.core.console.suggestions import missing_path, nearest
from sam_ad_perception.core.label_files import label_space_values
from sam_ad_perception.core.settings.yaml_documents import read_yaml
from sam_ad_perception.core.settings.yaml_records import build_record
from sam_ad_perception.modeling.zoo.files import find_network, zoo_files
from sam_ad_perception.modeling.zoo.packed import read_entries
from training.configuration.run import TrainConfig, apply_overrides, load_config
from training.datasets.own.data_file import read_data_file
from training.datasets.own.folders import NAME, named_sensors

CONFIGS = Path(__file__).parent / 'configs'
DEFAULTS: Mapping[str, Any] = {
    'cache_dir': 'runs/cache',
    'optimizer': {'lr': 5.0e-4, 'warmup_steps': 20},
    'schedule': {'steps': 400, 'batch_size': 4, 'checkpoint_minutes': 1.0},
    'validation': {'epochs': 5.0},
    'augmentation': {'scales': [0.75, 1.5], 'flip': 0.5, 'colour': 0.5},
}


def is_data_file(path: Path) -> bool:
    """Whether a YAML file tells own data, and is not the configuration of a run.

    Args:
        path: The file.

    Returns:
        Whether it has classes and no network.
    """
    if path.suffix not in ('.yaml', '.yml') or not path.is_file():
        return False
    content = read_yaml(path)
    return isinstance(content, Mapping) and 'model' not in content and 'models' not in content


def load_any(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read the configuration of a run, or make that of a file of own data.

    Args:
        path: YAML file of either kind.
        overrides: `dotted.name=value` each.

    Returns:
        The configuration.

    Raises:
        ValueError: A field is unknown or wrong.
        OSError: The file cannot be read.
    """
    if not path.exists():
        near = nearest(path.stem, (each.stem for each in CONFIGS.glob('*.yaml')))
        meant = f', did you mean {str(CONFIGS / near) + ".yaml"!r}?' if near else ''
        raise ValueError(f'{missing_path(path)}{meant}')
    return configure(path, overrides) if is_data_file(path) else load_config(path, overrides)


def configure(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Make the configuration of a file of own data.

    Args:
        path: The file.
        overrides: `dotted.name=value` each, over what its `training` says.

    Returns:
        The configuration.

    Raises:
        ValueError: A field is unknown or wrong, or `start` names no network.
        OSError: A file cannot be read.
    """
    data = read_data_file(path)
    zoo, checkpoints = zoo_files()
    start = str(data.file.training.get('start', data.file.start))
    named = find_network(str(path.parent / start)) if (path.parent / start).exists() else None
    named = named or find_network(start)
    if named is not None:
        zoo, checkpoints, keys = named
        model, start = keys[0], str(zoo) if zoo.suffix == '.safetensors' else keys[0]
    else:
        entries = read_entries(zoo)
        if start not in entries:
            raise ValueError(
                f'{path}: start must be one of {list(entries)}, or a file that `sam_ad export` '
                f'wrote, got {start!r}'
            )
        model = start
    content: dict[str, Any] = {
        **DEFAULTS,
        'model': model,
        'zoo': str(zoo),
        'checkpoints': str(checkpoints),
        'start': start,
        'dataset': NAME,
        'root': str(path.resolve()),
        'output_dir': f'runs/{path.stem}',
        'classes': label_space_values(data.space),
    }
    known = read_entries(zoo)[model].get('modalities', {})
    content['sensors'] = [name for name in known if name in named_sensors(data, known)]
    content = _merge(content, {k: v for k, v in data.file.training.items() if k != 'start'})
    return build_record(TrainConfig, apply_overrides(content, overrides), path.name)


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = _merge(below, value) if both else value  # type: ignore[arg-type]
    return merged
