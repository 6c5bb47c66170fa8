"""Which cameras are views: what the command line says, else the parameter `views`. No ROS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sam_ad_perception.nodes.ros.configuration import VIEW_NAME

_SINGLE = ('camera', 'camera_info')


@dataclass(frozen=True)
class ViewChoice:
    """The cameras that are asked for.

    Attributes:
        wanted: Name of each view -> topic of its images, '' where its name tells; None where
            nobody names views.
        remark: Why the parameter `views` does not decide although it is there; '' where it does.
    """

    wanted: dict[str, str] | None
    remark: str = ''


def read_view(text: str) -> tuple[str, str]:
    """Read `NAME` or `NAME:=TOPIC`.

    Args:
        text: What the user wrote.

    Returns:
        Name and topic; '' where none is given.

    Raises:
        ValueError: The name is none that ROS allows.
    """
    name, _, topic = text.partition(':=')
    if not VIEW_NAME.fullmatch(name):
        raise ValueError(
            'expected NAME or NAME:=TOPIC with a name of letters, digits and underscores, got '
            f'{text!r}'
        )
    return name, topic


def choose_wanted(
    given: Sequence[tuple[str, str]],
    topics: Sequence[tuple[str, str]],
    named: Sequence[str],
) -> ViewChoice:
    """Say which cameras are asked for.

    Args:
        given: Options `--view`.
        topics: Options `--topic`: role and topic; one of the camera makes it the only one.
        named: Parameter `views`; one empty name for none.

    Returns:
        The choice.
    """
    single = [role for role, _ in topics if role in _SINGLE]
    there = tuple(named) not in ((), ('',))
    held = f'the parameter views ({", ".join(named)}) is left aside'
    if given:
        wanted = dict(given)
        other = there and list(wanted) != list(named)
        return ViewChoice(wanted, f'{held}: --view names {", ".join(wanted)}' if other else '')
    if single:
        return ViewChoice(None, f'{held}: --topic {single[0]} names one camera' if there else '')
    return ViewChoice(dict.fromkeys(named, '') if there else None)
