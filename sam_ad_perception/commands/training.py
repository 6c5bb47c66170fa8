"""Commands of `sam_ad` whose work is in the training folder, wherever that is.

In a checkout it lies beside the package; a wheel installs it as `sam_ad_training`, because other
packages install a top-level `training` of their own. Its modules know each other as `training`.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import sam_ad_perception
from sam_ad_perception.core.console.install_advice import install_advice

_NAME, _INSTALLED = 'training', 'sam_ad_training'


def load_training() -> ModuleType:
    """Make the training folder of this package the module `training` of this process.

    Returns:
        The module.

    Raises:
        ValueError: It is not installed, or needs what is not.
    """
    place = Path(sam_ad_perception.__file__).resolve().parents[1] / _NAME / '__init__.py'
    known = sys.modules.get(_NAME)
    if known is not None and known.__file__ and Path(known.__file__).resolve() == place:
        return known
    if not (place.is_file() and (place.parent / 'configs').is_dir()):
        installed = importlib.util.find_spec(_INSTALLED)
        if installed is None or installed.origin is None:
            raise ValueError(
                'the training folder is not here: it comes with a checkout or a wheel of this '
                'package'
            )
        place = Path(installed.origin)
    if importlib.util.find_spec('lightning') is None:
        raise ValueError(
            f'training needs packages that are not installed: {install_advice("training")}'
        )
    spec = importlib.util.spec_from_file_location(
        _NAME, place, submodule_search_locations=[str(place.parent)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[_NAME] = module
    spec.loader.exec_module(module)
    return module


def run(name: str, argv: Sequence[str]) -> int:
    """Run a command of the training folder.

    Args:
        name: Its module: `train`, `export_labels` or another one.
        argv: Its arguments.

    Returns:
        Exit code.

    Raises:
        ValueError: Training is not installed.
    """
    load_training()
    command = importlib.import_module(f'{_NAME}.{name}')
    return int(command.main(list(argv), prog=f'sam_ad {name.replace("_", "-")}') or 0)
