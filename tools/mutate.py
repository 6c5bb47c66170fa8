"""Mutation testing: changes the code one place at a time, lists what no test notices.

`python -m tools.mutate [FILE ...]` takes the Python files of the package that differ from `main`,
or those that are named; cosmic-ray makes the mutations, in a copy of the checkout. Each file is
held against its own tests: those of its folder, `test/core/routing` for `core/routing/router.py`.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = 'sam_ad_perception'
LEFT_OUT = ('.venv', '.git', 'build', 'runs', 'demo_output', '.*_cache', '__pycache__')


def changed_files(base: str) -> list[Path]:
    """The files of the package that differ from a commit, relative to the checkout."""
    command = ['git', 'diff', '--name-only', '--diff-filter=d', base, '--', f'{PACKAGE}/*.py']
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [Path(name) for name in listed.split() if not name.endswith('__init__.py')]


def folder_of_tests(file: Path) -> Path:
    """The tests that a file must satisfy: the nearest folder of `test/` that mirrors its own.

    Args:
        file: Relative to the checkout.

    Returns:
        A folder, relative to the checkout.

    Raises:
        ValueError: There is none.
    """
    for folder in file.relative_to(PACKAGE).parents:
        mirrored = Path('test') / folder
        if folder != Path() and (ROOT / mirrored).is_dir():
            return mirrored
    raise ValueError(
        f'{file} has no folder of tests: expected test/{file.relative_to(PACKAGE).parent}'
    )


def mutate(file: Path, tests: str, timeout_s: float, folder: Path) -> list[str]:
    """Mutate one file in a copy of the checkout.

    Args:
        file: Relative to the checkout.
        tests: Arguments of pytest.
        timeout_s: Longest run of the tests, seconds; longer counts as noticed.
        folder: Of the copy; is made where it is not there.

    Returns:
        A diff for each mutation that no test noticed.
    """
    if not folder.exists():
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*LEFT_OUT))
    python = shlex.quote(sys.executable)
    command = f'{python} -m pytest -q -x -p no:cacheprovider {tests}'
    config = folder / 'cosmic-ray.toml'
    config.write_text(
        f'[cosmic-ray]\nmodule-path = "{file}"\ntimeout = {timeout_s}\nexcluded-modules = []\n'
        f"test-command = '''{command}'''\n[cosmic-ray.distributor]\nname = \"local\"\n"
    )
    session = folder / 'session.sqlite'
    session.unlink(missing_ok=True)
    ray = [sys.executable, '-m', 'cosmic_ray.cli']
    for step in (['baseline', config.name], ['init', config.name, session.name]):
        _run([*ray, *step], folder)
    _run([*ray, 'exec', config.name, session.name], folder)
    report = _run([*ray, 'dump', session.name], folder)
    return survivors(report)


def survivors(dump: str) -> list[str]:
    """The diffs of the mutations that no test noticed.

    Args:
        dump: What `cosmic-ray dump` prints: a line of JSON per mutation.
    """
    found = []
    for line in dump.splitlines():
        _, result = json.loads(line)
        if result is not None and result['test_outcome'] == 'survived':
            found.append(result['diff'])
    return found


def _run(command: Sequence[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f'`{" ".join(command[2:])}` failed: {done.stderr or done.stdout}')
    return done.stdout


def main(argv: Sequence[str] | None = None) -> int:
    """Mutate the files and print what survived.

    Args:
        argv: Command line; the process's own by default.

    Returns:
        Exit code: 1 where a mutation survived.
    """
    parser = argparse.ArgumentParser(
        prog='python -m tools.mutate', description=__doc__.partition('\n')[0]
    )
    parser.add_argument(
        'files', nargs='*', type=Path, metavar='FILE', help='default: changed ones'
    )
    parser.add_argument('--base', default='main', help='commit that changes are counted from')
    parser.add_argument('--tests', help='arguments of pytest; default: the tests of the folder')
    parser.add_argument('--timeout', type=float, default=300.0, help='of one run, seconds')
    options = parser.parse_args(argv)
    files = options.files or changed_files(options.base)
    left = 0
    with tempfile.TemporaryDirectory() as place:
        for file in files:
            tests = options.tests or str(folder_of_tests(file))
            print(f'{file} against {tests}', flush=True)
            for diff in mutate(file, tests, options.timeout, Path(place) / 'copy'):
                left += 1
                print(f'survived:\n{diff}', flush=True)
    print(f'{left} mutations survived in {len(files)} files')
    return int(left > 0)


if __name__ == '__main__':
    raise SystemExit(main())
