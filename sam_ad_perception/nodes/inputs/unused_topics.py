"""Topics of the graph that look like a sensor's and that no input reads, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from rclpy.node import Node

from sam_ad_perception.bags.formats.message_types import (
    CLOUD_TYPES,
    IMAGE_TYPES,
    PACKET_TYPES,
    VIDEO_TYPES,
    unread_reason,
)
from sam_ad_perception.bags.reader import BagTopic
from sam_ad_perception.bags.topic_roles import judge_topic
from sam_ad_perception.nodes.ros.diagnostics import OK, Diagnosis
from sam_ad_perception.nodes.ros.rclpy_helpers import is_installed

_TOLD = 20


def find_unused(
    node: Node, read: Collection[str], *, ours: Collection[str] = ()
) -> list[tuple[str, str]]:
    """Find what others publish that looks like a sensor's and is not read.

    Args:
        node: Knows the graph.
        read: Absolute names of the topics that are read, or would be if they were there.
        ours: Names of nodes whose topics are results.

    Returns:
        Topic and reason, by name.
    """
    found = []
    for name, kinds in node.get_topic_names_and_types():
        reason = '' if name in read else why_unused(name, kinds[0], node.resolve_topic_name)
        if not reason:
            continue
        publishers = {each.node_name for each in node.get_publishers_info_by_topic(name)}
        if publishers - {node.get_name(), *ours}:
            found.append((name, reason))
    return sorted(found)


def why_unused(name: str, kind: str, resolve: Callable[[str], str] = str) -> str:
    """Say why a topic that nobody reads is none, or how it would be read.

    Args:
        name: The topic, absolute.
        kind: Its type.
        resolve: Gives the absolute name of one of our topics.

    Returns:
        One sentence; '' for a topic that is no sensor's, or that is called like a result.
    """
    if reason := unread_reason(kind):
        return reason
    if kind not in (*IMAGE_TYPES, *VIDEO_TYPES, *CLOUD_TYPES, *PACKET_TYPES):
        return ''
    modality = judge_topic(BagTopic(name, kind, 1)).modality
    if modality is None:
        return ''
    topic = modality.topic
    source = name.removesuffix('/compressed').removesuffix('/ffmpeg')
    if kind not in IMAGE_TYPES and not is_installed(kind):
        return (
            f'{kind} is read where its message package is installed, which it is not: build it, '
            f'and {topic}:={source} takes the topic'
        )
    return (
        f'no input has this name, {modality} is read from {resolve(topic)}: '
        f'{topic}:={source} takes it'
    )


def diagnose_unused(found: Iterable[tuple[str, str]]) -> list[Diagnosis]:
    """Tell of them on `/diagnostics`.

    Args:
        found: See `find_unused`.

    Returns:
        One entry; none where there is nothing to tell.
    """
    rows = tuple(found)
    if not rows:
        return []
    text = f"{len(rows)} topics that look like a sensor's are not read"
    return [Diagnosis('unused topics', OK, text, rows[:_TOLD])]


def names_read(node: Node, topics: Iterable[str]) -> set[str]:
    """List the absolute names under which inputs read.

    Args:
        node: Resolves names.
        topics: Relative names of the inputs, those of every view.
    """
    named = [node.resolve_topic_name(topic) for topic in topics]
    return {*named, *(f'{name}/{kind}' for name in named for kind in ('compressed', 'ffmpeg'))}
