"""Shell completion of `sam_ad`, by argcomplete: commands, options and their choices."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from sam_ad_perception.core.console.command_line import CommandParser

VARIABLE = '_ARGCOMPLETE'
"""The shell sets it when it asks for completions."""
SHELLS = ('bash', 'zsh')

Command = tuple[str, Callable[[Sequence[str]], int]]


class _ParserFoundError(Exception):
    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def command_parser(run: Callable[[Sequence[str]], object]) -> argparse.ArgumentParser:
    """Give the parser that a command makes of its command line, without running the command.

    Args:
        run: The command's function; it makes its parser and then calls `parse_args`.

    Returns:
        The parser.

    Raises:
        ValueError: It has no parser.
    """
    with _stop_at_parsing():
        try:
            run([])
        except _ParserFoundError as found:
            return found.parser
    raise ValueError(f'{run.__name__} parses no command line')


def main(argv: Sequence[str]) -> int:
    """Print what a shell runs at its start to complete `sam_ad`.

    Args:
        argv: Command line.

    Returns:
        Exit code.
    """
    parser = CommandParser(
        prog='sam_ad completion',
        description='Print what a shell runs at its start, for TAB to complete `sam_ad`.',
        examples=('eval "$(sam_ad completion bash)"', 'eval "$(sam_ad completion zsh)"'),
    )
    parser.add_argument('shell', choices=SHELLS)
    options = parser.parse_args(argv)
    import argcomplete

    print(argcomplete.shellcode(['sam_ad'], shell=options.shell))
    return 0


def complete(commands: Mapping[str, Command]) -> None:
    """Answer the shell where it asks for completions; the process then ends.

    Args:
        commands: Description and function by name.
    """
    if VARIABLE not in os.environ:
        return
    import argcomplete

    argcomplete.autocomplete(completion_parser(commands, os.environ.get('COMP_LINE', '')))


def completion_parser(commands: Mapping[str, Command], line: str) -> argparse.ArgumentParser:
    """Make a parser of all commands; only the one on the line gets its options.

    Args:
        commands: Description and function by name.
        line: What stands on the command line.

    Returns:
        The parser.
    """
    parser = argparse.ArgumentParser(prog='sam_ad')
    parser.add_argument('--version', action='store_true', help='show the version')
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    choices = parser.add_subparsers(dest='command')
    for name, (text, run) in commands.items():
        parents = [command_parser(run)] if name in _words(line)[1:] else []
        choices.add_parser(name, help=text, parents=parents, add_help=not parents)
    return parser


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:  # an open quote
        return line.split()


@contextmanager
def _stop_at_parsing() -> Iterator[None]:
    """Let the next `parse_args` hand over its parser in place of parsing."""

    def stop(parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        raise _ParserFoundError(parser)

    before = argparse.ArgumentParser.parse_args
    argparse.ArgumentParser.parse_args = stop  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        argparse.ArgumentParser.parse_args = before  # type: ignore[method-assign]
