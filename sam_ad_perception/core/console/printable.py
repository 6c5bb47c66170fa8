"""Names from files and messages as text that a terminal, a log or a page can show."""

from __future__ import annotations


def escape_controls(name: str) -> str:
    r"""Write control characters of a name as escapes, so that they change no terminal.

    Args:
        name: As a file or a message has it, for example a topic or a frame.

    Returns:
        The same where all of it can be printed; else with each control character as Python writes
        it, for example ``\x1b``.
    """
    if name.isprintable():
        return name
    return ''.join(
        each if each.isprintable() else each.encode('unicode_escape').decode('ascii')
        for each in name
    )
