"""Count the product files that name more than one sensor.

    python -m tools.sensor_names [--list]

A sensor that is declared in one record is named nowhere else: what is counted here is what has to
be looked at when a sensor comes or changes. Data sets and the simulator's own measurements may
name theirs; they are counted all the same, so that the figure is easy to compare.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ('sam_ad_perception', 'training', 'benchmarks', 'tools', 'launch')
SENSORS = frozenset({'camera', 'thermal', 'event', 'lidar', 'depth'})


def sensors_in(source: str) -> set[str]:
    """Find the sensors that Python source names: `Modality.CAMERA`, or the string 'camera'.

    Args:
        source: Text of a file.

    Returns:
        Their names.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        name = None
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = node.attr.lower() if node.value.id == 'Modality' else None
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = node.value
        if name in SENSORS:
            found.add(name)
    return found


def find_files() -> Iterator[tuple[Path, set[str]]]:
    """Find the files that name more than one sensor.

    Yields:
        Each file, relative to the repository, and the sensors that it names.
    """
    own = Path(__file__).resolve()
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob('*.py')):
            named = sensors_in(path.read_text(encoding='utf-8'))
            if len(named) > 1 and path != own:
                yield path.relative_to(ROOT), named


def main() -> None:
    """Print the number of files, by folder, and on request their names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--list', action='store_true', help='name the files, too')
    arguments = parser.parse_args()
    files = list(find_files())
    if arguments.list:
        for path, named in files:
            print(f'{path}: {", ".join(sorted(named))}')
    for folder in FOLDERS:
        print(f'{folder}: {sum(path.parts[0] == folder for path, _ in files)}')
    print(f'all: {len(files)}')


if __name__ == '__main__':
    main()
