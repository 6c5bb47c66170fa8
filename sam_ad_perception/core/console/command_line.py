"""The command line of every command: errors of one sentence that say what was meant, examples.

`CommandParser` is argparse's parser with those; `checked`, `existing_file`, `whole_number` and
`number` read values and refuse them in words.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from sam_ad_perception.core.console.suggestions import did_you_mean, missing_path

T = TypeVar('T')
_EXAMPLE = 'example'
_PREFIX = re.compile(r'^argument ([^:]+): ', re.DOTALL)
_NUMBER = re.compile(r"invalid (int|float) value: ('.*')$", re.DOTALL)
_KINDS = {'int': 'a whole number', 'float': 'a number'}
_SURE = 0.7
"""Share of the letters that an option has in common with the one that was meant."""
_SPARE = 'unrecognized arguments: '


class ExampleFormatter(argparse.HelpFormatter):
    """Wraps texts as argparse does, and leaves the lines of an example as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith(f'{_EXAMPLE}:') or text.startswith(f'{_EXAMPLE}s:'):
            return text
        return super()._fill_text(text, width, indent)


class CommandParser(argparse.ArgumentParser):
    """A parser that refuses in one sentence, with the name that was meant.

    Args:
        prog: What the user called.
        description: What the command does.
        examples: Whole command lines that work, shown below the help.
        raw: Whether the description keeps its lines.
    """

    def __init__(
        self,
        prog: str,
        description: str | None = None,
        *,
        examples: Sequence[str],
        raw: bool = False,
    ) -> None:
        heading = f'{_EXAMPLE}s' if len(examples) > 1 else _EXAMPLE
        super().__init__(
            prog=prog,
            description=description,
            epilog='\n  '.join([f'{heading}:', *examples]) if examples else None,
            formatter_class=argparse.RawDescriptionHelpFormatter if raw else ExampleFormatter,
        )
        self.examples = tuple(examples)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse as argparse does, but look for options that do not exist first.

        argparse would miss required arguments before it sees that one of them is only misspelt.
        """
        if args is not None:
            self._refuse_unknown_options(args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print one line and end the process with exit code 2.

        Args:
            message: As argparse words it.
        """
        text = _PREFIX.sub(r'\1: ', message)
        text = _NUMBER.sub(lambda m: f'expected {_KINDS[m[1]]}, got {m[2]}', text)
        if text.startswith(_SPARE):
            text = f'nothing is known of the argument {text.removeprefix(_SPARE)}'
            text += f', as in `{self.examples[0]}`' if self.examples else ''
        if 'are required' in text and self.examples:
            text += f', as in `{self.examples[0]}`'
        self.exit(2, f'{self.prog}: {text}\n')

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            names = [str(each) for each in action.choices]
            raise argparse.ArgumentError(
                action, f'{value!r} is none of {", ".join(names)}{did_you_mean(str(value), names)}'
            )

    def _refuse_unknown_options(self, args: Sequence[str]) -> None:
        known = self._option_string_actions
        rest = any(each.nargs == argparse.REMAINDER for each in self._actions)
        for word in args:
            if word == '--' or (rest and not word.startswith('-')):
                return
            name = word.partition('=')[0]
            if not name.startswith('--') or name in known:
                continue
            if len([each for each in known if each.startswith(name)]) == 1:
                continue  # argparse takes the beginning of an option's name for it
            options = ', '.join(each for each in known if each.startswith('--'))
            self.error(
                f'there is no option {name}'
                + (did_you_mean(name, known, _SURE) or f', only {options}')
            )


def checked(read: Callable[[str], T]) -> Callable[[str], T]:
    """Let argparse show the sentence with which a value is refused.

    Args:
        read: Reads the value; raises ValueError.

    Returns:
        A `type` for `add_argument`.
    """

    def convert(text: str) -> T:
        try:
            return read(text)
        except ValueError as err:
            raise argparse.ArgumentTypeError(str(err)) from err

    return convert


def existing_file(advice: str) -> Callable[[str], Path]:
    """Take a path only where there is a file.

    Args:
        advice: Where such a file comes from, for the sentence of a missing one.

    Returns:
        A `type` for `add_argument`.
    """

    def read(text: str) -> Path:
        path = Path(text)
        if path.is_file():
            return path
        if path.is_dir():
            raise ValueError(f'{path} is a folder, expected a file: {advice}')
        said = missing_path(path)
        raise ValueError(said if said.endswith('?') else f'{said}: {advice}')

    return checked(read)


def existing_folder(advice: str) -> Callable[[str], Path]:
    """Take a path only where there is a folder; see `existing_file`."""

    def read(text: str) -> Path:
        path = Path(text)
        if path.is_dir():
            return path
        if path.exists():
            raise ValueError(f'{path} is a file, expected a folder: {advice}')
        said = missing_path(path)
        raise ValueError(said if said.endswith('?') else f'{said}: {advice}')

    return checked(read)


def whole_number(low: int) -> Callable[[str], int]:
    """Take a whole number from `low` on.

    Args:
        low: The lowest.

    Returns:
        A `type` for `add_argument`.
    """

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f'expected a whole number from {low} on, got {text!r}') from None
        if value < low:
            raise ValueError(f'expected a whole number from {low} on, got {text!r}')
        return value

    return checked(read)


def number(*, above: float | None = None, low: float | None = None) -> Callable[[str], float]:
    """Take a number within its range; `nan` is none, infinity is out of range.

    Args:
        above: It must be more than that; None for no such limit.
        low: The lowest; None for no such limit.

    Returns:
        A `type` for `add_argument`.
    """
    wanted = 'a number' + (f' above {above:g}' if above is not None else '')
    wanted += f' from {low:g} on' if low is not None else ''

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f'expected {wanted}, got {text!r}') from None
        small = (above is not None and value <= above) or (low is not None and value < low)
        if small or not math.isfinite(value):
            raise ValueError(f'expected {wanted}, got {text!r}')
        return value

    return checked(read)


def names_of(known: Iterable[str]) -> Callable[[str], tuple[str, ...]]:
    """Take names that are separated by commas.

    Args:
        known: The names that there are.

    Returns:
        A `type` for `add_argument`.
    """
    listed = [str(each) for each in known]

    def read(text: str) -> tuple[str, ...]:
        names = tuple(name.strip() for name in text.split(','))
        for name in names:
            if name not in listed:
                raise ValueError(
                    f'{name!r} is none of {", ".join(listed)}{did_you_mean(name, listed)}'
                )
            if names.count(name) > 1:
                raise ValueError(
                    f'expected each name once, got {name!r} {names.count(name)} times'
                )
        return names

    return checked(read)


def describe_error(err: BaseException) -> str:
    """Say what an error is about, without the number of the operating system.

    Args:
        err: The error.

    Returns:
        Its sentence.
    """
    if isinstance(err, IsADirectoryError) and err.filename is not None:
        return f'{err.filename} is a folder, expected a file'
    if isinstance(err, FileNotFoundError) and err.filename is not None and err.errno is not None:
        return missing_path(str(err.filename))
    if isinstance(err, OSError) and err.filename is not None and err.strerror:
        return f'{err.filename}: {err.strerror}'
    return str(err)
