"""The exact packages that CI passed with, each with its hash: written and read here.

    python -m tools.lock        write the lock of this platform from `.venv`

`make` installs from the lock where platform and Python are those it was made on and `setup.py`
asks for what it asked for then; pip refuses a file with another hash. Elsewhere `constraints.txt`
alone holds the versions.
"""

from __future__ import annotations

import ast
import hashlib
import json
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADER = '# made for: '

TORCH = re.compile(r'(torch|torchvision|triton|nvidia-.*|cuda-.*)')
SOURCES = ('sam2', 'segment-anything')
"""Built from source with torch at hand, after it."""
BUILD_TOOLS = ('pip', 'setuptools', 'wheel')
"""What builds a package that comes as source only: before all else."""


@dataclass(frozen=True)
class Lock:
    """Pinned packages in the order of four installations.

    Attributes:
        build_tools: Requirement lines of what builds packages from source.
        small: ROS and all that needs no torch to be built.
        torch: PyTorch and what it runs on.
        sources: What is built with torch at hand.
    """

    build_tools: tuple[str, ...]
    small: tuple[str, ...]
    torch: tuple[str, ...]
    sources: tuple[str, ...]


def requirements(setup_file: Path) -> dict[str, list[str]]:
    """The lists of dependencies in `setup.py`, by the name they are assigned to.

    Read without running it: at this point there may be no setuptools to run it with.
    """
    lists: dict[str, list[str]] = {}
    for statement in ast.parse(setup_file.read_text()).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.List):
            items: list[str] = []
            for item in statement.value.elts:
                if isinstance(item, ast.Starred) and isinstance(item.value, ast.Name):
                    items += lists[item.value.id]
                else:
                    items.append(ast.literal_eval(item))
            for target in statement.targets:
                lists[ast.unparse(target)] = items
    return lists


def asked_for() -> str:
    """Digest of the dependencies that the checkout asks for; a lock belongs to one."""
    lists = repr(sorted(requirements(ROOT / 'setup.py').items()))
    constraints = (ROOT / 'constraints.txt').read_text()
    return hashlib.sha256((lists + constraints).encode()).hexdigest()[:16]


def lock_file(root: Path = ROOT) -> Path:
    """The lock of this platform and Python; it need not exist.

    Args:
        root: The checkout.

    Returns:
        Its path.
    """
    python = f'cp{sys.version_info.major}{sys.version_info.minor}'
    return root / f'constraints-{sys.platform}-{platform.machine()}-{python}.txt'


def read_lock(path: Path, asked: str) -> Lock | None:
    """Read a lock that was made for what is asked now.

    Args:
        path: The file.
        asked: Digest of what `setup.py` and `constraints.txt` ask for.

    Returns:
        The packages; None where there is no lock, or it was made for something else.
    """
    if not path.is_file():
        return None
    head, *lines = path.read_text().splitlines()
    if head != HEADER + asked:
        return None
    pins = [line for line in lines if line and not line.startswith('#')]
    build_tools = tuple(pin for pin in pins if _name(pin) in BUILD_TOOLS)
    torch = tuple(pin for pin in pins if TORCH.fullmatch(_name(pin)))
    sources = tuple(pin for pin in pins if _name(pin) in SOURCES)
    small = tuple(pin for pin in pins if pin not in {*build_tools, *torch, *sources})
    return Lock(build_tools, small, torch, sources)


def _name(pin: str) -> str:
    return pin.partition('==')[0]


def format_lock(report: dict[str, list[dict[str, object]]], asked: str) -> str:
    """Make the text of a lock.

    Args:
        report: pip's installation report.
        asked: See `read_lock`.

    Returns:
        One `name==version --hash=sha256:...` per line.

    Raises:
        ValueError: pip tells no sha256 of a package.
    """
    lines = []
    for entry in report['install']:
        metadata, source = entry['metadata'], entry['download_info']
        assert isinstance(metadata, dict)
        assert isinstance(source, dict)
        sha256 = source.get('archive_info', {}).get('hashes', {}).get('sha256')
        if not sha256:
            raise ValueError(f'pip tells no sha256 of {metadata["name"]}')
        name = re.sub(r'[-_.]+', '-', str(metadata['name'])).lower()
        lines.append(f'{name}=={metadata["version"]} --hash=sha256:{sha256}')
    return '\n'.join([HEADER + asked, *sorted(lines), ''])


def write_lock(python: Path, path: Path, asked: str) -> int:
    """Pin what is installed in an environment by pip from the index.

    Args:
        python: Interpreter of the environment.
        path: The lock.
        asked: See `read_lock`.

    Returns:
        How many packages it holds.
    """
    pip = [str(python), '-m', 'pip']
    found = subprocess.run([*pip, 'inspect'], check=True, capture_output=True, text=True)
    installed = [
        f'{entry["metadata"]["name"]}=={entry["metadata"]["version"]}'
        for entry in json.loads(found.stdout)['installed']
        if entry.get('installer') == 'pip' and 'direct_url' not in entry
    ]
    with tempfile.TemporaryDirectory() as folder:
        wanted, report = Path(folder, 'wanted.txt'), Path(folder, 'report.json')
        wanted.write_text('\n'.join(installed) + '\n')
        options = ['--dry-run', '--no-deps', '--ignore-installed', '--quiet']
        options += ['--no-build-isolation', '--report', str(report), '--requirement', str(wanted)]
        subprocess.run([*pip, 'install', *options], check=True)
        path.write_text(format_lock(json.loads(report.read_text()), asked))
    return len(installed)


def main(argv: Sequence[str] = ()) -> int:
    """Write the lock of this platform; returns the exit status."""
    path = lock_file()
    count = write_lock(ROOT / '.venv' / 'bin' / 'python', path, asked_for())
    print(f'{path.name}: {count} packages')
    return 0


if __name__ == '__main__':
    sys.exit(main())
