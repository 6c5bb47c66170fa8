"""Who may import what: the arrows between the parts point one way, and core stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = 'sam_ad_perception'
ROOT = Path(__file__).resolve().parents[1]

# Part -> the parts of the package that it may import besides itself.
ALLOWED = {
    'core': set(),
    'modeling': {'core'},
    'simulation': {'core'},
    'bags': {'core', 'modeling'},
    'reporting': {'core', 'bags'},
    'nodes': {'core', 'modeling', 'bags'},
    'training': {'core', 'modeling', 'simulation', 'bags', 'reporting'},
    'tools': {'core', 'nodes'},
}
# Room -> the rooms of the same part that it may import, besides the part's ground floor (its
# loose files). A room that is not named here imports no other room of its part.
ROOMS = {
    'core/lidar': {'geometry'},
    'core/images': {'geometry', 'lidar'},
    'core/plausibility': {'geometry', 'lidar'},
    'core/messages': {'geometry', 'images', 'lidar', 'events', 'plausibility'},
    'core/health': {'images'},
    'core/fault_detection': {'health', 'lidar'},
    'core/clock_offsets': {'geometry', 'events', 'lidar'},
    'core/consumers': {'lidar', 'messages', 'selections'},
    'core/selections': {'lidar', 'messages'},
    'core/synchronization': {'geometry', 'lidar', 'events', 'images', 'messages', 'health'},
    'modeling/networks': {'encoders'},
    'modeling/zoo': {'networks', 'encoders', 'inputs'},
    'modeling/runtimes': {'zoo', 'networks', 'encoders'},
    'modeling/inference': {'runtimes', 'zoo', 'inputs', 'networks', 'encoders'},
    'simulation/weather': {'raycasting'},
    'simulation/street': {'raycasting', 'weather'},
    'simulation/sensors': {'street', 'weather', 'raycasting'},
    'simulation/faults': {'sensors'},
    'simulation/drives': {'faults', 'sensors', 'street', 'weather', 'raycasting'},
    'nodes/inputs': {'ros'},
    'nodes/launch': {'ros'},
    'nodes/segmentation': {'inputs', 'ros'},
    'nodes/replay': {'ros'},
}
# Rooms below the ground floor of their part: its loose files may import them, never they those.
BELOW = {'bags': {'containers', 'formats'}, 'core': {'console'}, 'reporting': {'drawing'}}
# Rooms that stand on the ground floor and that every other room of their part may import.
SHARED = {'core': {'settings'}}
# Third-party packages that are heavy or bind to a platform -> the only parts that may import them.
ONLY_IN = {
    'torch': {'modeling', 'training'},
    'torchvision': {'modeling', 'training'},
    'sam2': {'modeling', 'training'},
    'segment_anything': {'modeling', 'training'},
    'safetensors': {'modeling', 'training'},
    'onnx': {'modeling', 'training'},
    'onnxruntime': {'modeling', 'training'},
    'openvino': {'modeling'},
    'rclpy': {'nodes'},
    'launch': {'nodes'},
    'launch_ros': {'nodes'},
    'cv_bridge': {'nodes'},
    'rosbags': {'bags', 'simulation'},
    'mcap': {'bags'},
    'av': {'bags'},
    'jinja2': {'reporting'},
    'rerun': {'reporting'},
    'lightning': {'training'},
    'ray': {'bags'},
}
CORE_NEEDS = {'numpy', 'numba', 'cv2', 'yaml'}
ENTRANCES = {'commands', 'api'}  # they put the parts together


def part_of(file: Path) -> str:
    """The part that a file belongs to: a sub-package, or a top-level folder of the checkout."""
    parts = file.relative_to(ROOT).parts
    return parts[1].removesuffix('.py') if parts[0] == PACKAGE else parts[0]


def sources() -> list[Path]:
    folders = (PACKAGE, 'training', 'tools')
    return sorted(file for folder in folders for file in (ROOT / folder).rglob('*.py'))


def imports(tree: ast.AST, file: Path) -> Iterator[tuple[str, int]]:
    """All modules that a tree imports, relative ones resolved, with the line."""
    package = file.relative_to(ROOT).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = '.'.join([*base, *([node.module] if node.module else [])])
            yield module, node.lineno
            for alias in node.names:
                yield f'{module}.{alias.name}', node.lineno


def violations(file: Path, text: str | None = None) -> list[str]:
    """What a file imports against the tables above, one sentence each."""
    part = part_of(file)
    if part == '__init__' or part in ENTRANCES:
        return []
    found = []
    for module, line in imports(ast.parse(text or file.read_text()), file):
        names = module.split('.')
        where = f'{file.relative_to(ROOT)}:{line}'
        if names[0] == PACKAGE and len(names) > 1 and names[1] not in {part, *ALLOWED[part]}:
            found.append(f'{where}: {part} must not import {names[1]}')
        if names[0] in {'training', 'tools', 'test', 'benchmarks'} and names[0] != part:
            found.append(f'{where}: {part} must not import {names[0]}')
        if part not in ONLY_IN.get(names[0], {part}):
            found.append(f'{where}: {part} must not import {names[0]}')
        if part == 'core' and names[0] not in {*sys.stdlib_module_names, PACKAGE, *CORE_NEEDS}:
            found.append(f'{where}: core must not import {names[0]}')
    return sorted(set(found))


def import_graph() -> dict[str, set[str]]:
    """Module -> the modules of the package and of training that it imports, tops included."""
    modules = {
        '.'.join(file.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__'): file
        for file in sources()
    }
    return {
        module: {name for name, _ in imports(ast.parse(file.read_text()), file) if name in modules}
        - {module, module.rpartition('.')[0]}
        for module, file in modules.items()
    }


def test_no_import_circle() -> None:
    """Modules that import each other are one idea in several files, or the arrow is wrong."""
    with pytest.raises(CycleError):  # the check itself sees a circle
        TopologicalSorter({'a': {'b'}, 'b': {'a'}}).prepare()
    TopologicalSorter(import_graph()).prepare()


def room_of(module: str) -> tuple[str, str]:
    """Part and room of a module; the room of a loose file is empty."""
    names = module.removeprefix(f'{PACKAGE}.').split('.')
    folder = ROOT.joinpath(*module.split('.'))
    inside = names if folder.is_dir() else names[:-1]
    return names[0], inside[1] if len(inside) > 1 else ''


# Parts whose loose files are the top (executables), not the ground floor.
TOPS = {'nodes', 'commands', 'training'}


def test_rooms_import_downwards() -> None:
    """Inside a part, rooms know only those below them; no room imports an executable."""
    found = []
    for module, imported in import_graph().items():
        part, room = room_of(module)
        if part not in {'core', 'modeling', 'simulation', 'nodes', 'bags'}:
            continue
        for other in imported:
            other_part, other_room = room_of(other)
            if other_part != part or other_room == room:
                continue
            if not room and part in TOPS:
                continue  # an executable may use every room
            if other_room in BELOW.get(part, set()):
                continue
            if room in BELOW.get(part, set()):
                found.append(f'{module}: {room} is below {other}')
            elif not room:
                found.append(f'{module}: the ground floor of {part} must not import {other_room}')
            elif not other_room and part in TOPS:
                found.append(f'{module}: must not import the executable {other}')
            elif other_room and other_room not in (
                ROOMS.get(f'{part}/{room}', set()) | SHARED.get(part, set())
            ):
                found.append(f'{module}: {room} must not import {other_room}')
    assert sorted(set(found)) == []


def test_every_part_has_a_row() -> None:
    parts = {part_of(file) for file in sources()} - {'__init__'} - ENTRANCES
    assert parts <= set(ALLOWED), 'a new part needs a row in ALLOWED and in CONTRIBUTING.md'


@pytest.mark.parametrize('file', sources(), ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_point_one_way(file: Path) -> None:
    assert violations(file) == []


@pytest.mark.parametrize(
    ('name', 'text', 'wrong'),
    [
        ('nodes/x.py', 'def f():\n    from training.train import main\n', True),
        ('core/x.py', 'from sam_ad_perception import modeling\n', True),
        ('core/x.py', 'from ..modeling import zoo\n', True),
        ('core/x.py', 'import torch.nn as nn\n', True),
        ('core/x.py', 'import numpy as np, math\nfrom .sensors import Modality\n', False),
        ('bags/x.py', 'import rclpy\n', True),
        ('modeling/x.py', 'from sam_ad_perception.nodes import worker\n', True),
        (
            'nodes/x.py',
            'from sam_ad_perception.modeling.inference.segmenter import Segmenter\n',
            False,
        ),
    ],
)
def test_the_rules_catch(name: str, text: str, wrong: bool) -> None:
    assert bool(violations(ROOT / PACKAGE / name, text)) == wrong


def loaded_after(statements: str, *modules: str) -> list[str]:
    """Which of some modules an interpreter has loaded after some statements."""
    script = f'import sys\n{statements}\nprint(*[m for m in {modules} if m in sys.modules])'
    command = [sys.executable, '-c', script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()


def test_command_line_imports_lazily() -> None:
    """`sam_ad --help` must not wait seconds for torch."""
    call = (
        f'from {PACKAGE}.commands.cli import main\ntry: main(["--help"])\nexcept SystemExit: pass'
    )
    assert loaded_after(call, 'torch', 'rclpy', 'numba', 'cv2', 'numpy') == []


def test_core_loads_neither_torch_nor_ros() -> None:
    """What the text of the files cannot show: nothing that core imports brings them in either."""
    modules = [
        '.'.join(file.relative_to(ROOT).with_suffix('').parts)
        for file in (ROOT / PACKAGE / 'core').rglob('*.py')
    ]
    imported = f'import importlib\nfor name in {modules}: importlib.import_module(name)'
    assert loaded_after(imported, 'torch', 'rclpy', 'rosbags') == []
