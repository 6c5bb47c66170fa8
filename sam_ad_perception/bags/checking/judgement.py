"""Problems of a recording, from the checks of its camera views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sam_ad_perception.bags.bundles import BagFeed
from sam_ad_perception.bags.checking.sensor_check import SensorCheck
from sam_ad_perception.bags.checking.view_check import ViewCheck
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.core.findings import Finding
from sam_ad_perception.core.sensor_kinds import EVENTS
from sam_ad_perception.core.sensors import Modality

_OFTEN = 0.2
_MOST_TOLD = 3
_CLOCK_S = 0.5
_CANNOT = ' cannot be used: '
_LOST_S = 1.0  # of the recording: less is how recorders begin and end


def judge_views(
    views: Sequence[ViewCheck], feeds: Sequence[BagFeed], reader: BagReader
) -> tuple[Finding, ...]:
    """Say what is wrong with the views of a recording.

    Args:
        views: What was seen of each.
        feeds: The feed of each, read.
        reader: The recording.

    Returns:
        Each thing once; with the names of the views in front where not all views have it.
    """
    found = {
        view.name: _merge(_judge(view, reader.duration_s), _told(feed, reader))
        for view, feed in zip(views, feeds, strict=True)
    }
    return (*merge_views(found), *_judge_frames(views))


def merge_views(found: Mapping[str, Sequence[Finding]]) -> tuple[Finding, ...]:
    """Tell once what every view tells, and name the views of what only some tell.

    Args:
        found: Findings of each view, by its name.

    Returns:
        In the order of the views. What all views say of a sensor that they share is told with
        the figures of the first.
    """
    grouped: dict[tuple[object, ...], dict[str, Finding]] = {}
    for view, findings in found.items():
        for each in findings:
            shared = each.sensor not in ('', Modality.CAMERA)
            key = (each.code, each.sensor, each.out, '' if shared else each.text)
            grouped.setdefault(key, {}).setdefault(view, each)
    told = []
    for group in grouped.values():
        if len(group) == len(found):
            told.append(next(iter(group.values())))
            continue
        same: dict[str, list[str]] = {}
        for view, each in group.items():
            same.setdefault(each.text, []).append(view)
        for text, names in same.items():
            named = f'{", ".join(names)}: {text}'
            told.append(replace(group[names[0]], text=named))
    return tuple(told)


def _judge(view: ViewCheck, duration_s: float) -> list[Finding]:
    """What is wrong with what became of the sensors of a view."""
    found = []
    if not any(each.topic for each in view.sensors):
        text = 'no topic is a sensor that is known here'
        found.append(Finding('check.sensors', '', text, '--topic ROLE:=NAME names one', out=True))
    elif not view.bundles:
        why = '; '.join(f'{n} times: {text}' for text, n in view.dropped.items())
        text = f'no reference frame gives a mask: {why or "no frame of a leading sensor came"}'
        found.append(Finding('check.masks', '', text, out=True))
    for each in view.sensors:
        if each.topic and each.seen:
            found += _judge_use(each, duration_s)
    for doubt in view.mapping.doubts():
        found.append(Finding('check.choice', '', doubt))
    return found


def _judge_frames(views: Sequence[ViewCheck]) -> list[Finding]:
    """What is wrong with where cameras are: two of them cannot be in one place."""
    by_frame: dict[tuple[object, ...], list[str]] = {}
    for view in views:
        camera = view.example.camera if view.example else None
        if camera is not None and camera.frame_id and not camera.unknown_lens:
            by_frame.setdefault((camera.frame_id, *camera.offset), []).append(view.name)
    return [
        Finding(
            'check.frame',
            Modality.CAMERA,
            f'{", ".join(names)} have one frame, {frame!r}, so that transforms place all of them '
            'where one is',
            'let their drivers name a frame for each',
        )
        for (frame, *_), names in by_frame.items()
        if len(names) > 1
    ]


def _merge(own: Sequence[Finding], told: Sequence[Finding]) -> tuple[Finding, ...]:
    """Tell of a thing once: what the plausibility pass says of a sensor is more.

    Messages that cannot be used are why a sensor, or every mask, is missing, where that is said.
    """
    causes = [each.text for each in own if each.out]
    told = [
        each
        for each in told
        if each.code != 'check.unreadable'
        or not any(each.text.partition(_CANNOT)[2] in text for text in causes)
    ]
    clocks = {each.sensor for each in told if each.code.startswith('clock.')}
    out = {each.sensor for each in told if each.out}
    known = {(f'check.{what}', s) for what in ('clock', 'order') for s in clocks} | {
        ('check.unused', s) for s in out
    }
    kept = [
        each
        for each in own
        if (each.code, each.sensor) not in known
        and not any(f.text and f.text in each.text for f in told)
    ]
    return (*kept, *told)


def _judge_use(each: SensorCheck, duration_s: float) -> list[Finding]:
    """What is wrong with one sensor of which bundles were made."""
    sensor, found = str(each.modality), []
    lost = each.seen - each.used
    if not each.used or lost > _OFTEN * each.seen:
        why = '; '.join(text for text, _ in each.missing.most_common(_MOST_TOLD))
        share = f'{lost} of {each.seen} frames' if each.used else 'every frame looked at'
        text = f'{each.topic} is missing in {share}: {why}'
        found.append(Finding('check.unused', sensor, text, out=not each.used, figure=lost))
    if each.points == 0:
        text = f'{each.topic}: no sweep that was looked at holds a point'
        found.append(Finding('check.empty', sensor, text, 'look at the device and its driver'))
    if abs(each.clock_s) > _CLOCK_S:
        side = 'ahead of' if each.clock_s > 0 else 'behind'
        text = (
            f'the stamps of {each.topic} are {abs(each.clock_s):.2f} s {side} those of the camera'
        )
        remedy = (
            'unless they arrive so much later than the images, set '
            f'bundler.sync.{sensor}.offset_s: {each.clock_s:.2f}'
        )
        found.append(Finding('check.clock', sensor, text, remedy, figure=each.clock_s))
    timing = each.timing
    regular = each.modality.record.form != EVENTS  # packets may be sent by size
    if regular and timing is not None and timing.missing > _OFTEN * timing.count:
        text = f'{each.topic}: {timing.missing} messages are missing beside {timing.count}'
        found.append(Finding('check.gaps', sensor, text, figure=timing.missing))
    if regular and timing is not None and timing.disordered > _OFTEN * timing.count:
        text = (
            f'{each.topic}: {timing.disordered} of {timing.count} stamps are no later than those '
            'before them'
        )
        remedy = 'is the recording, or a file of it, in the folder twice?'
        found.append(Finding('check.order', sensor, text, remedy, figure=timing.disordered))
    if each.coverage < 1.0 - _OFTEN and (1.0 - each.coverage) * duration_s > _LOST_S:
        text = f'{each.topic} covers {100 * each.coverage:.0f} % of the recording'
        found.append(Finding('check.coverage', sensor, text, figure=each.coverage))
    return found


def _told(feed: BagFeed, reader: BagReader) -> list[Finding]:
    """What was found on the way: by plausibility, by the decoders, by the files."""
    found = [each.finding for each in feed.checks.findings()]
    found += [
        Finding('check.unreadable', '', f'{topic}: {u.count} messages{_CANNOT}{u.reason}')
        for topic, u in feed.unreadable.items()
    ]
    found += [
        Finding('check.unread', '', f'{u.name} ({u.type}), {u.count} messages: {u.reason}')
        for u in reader.unread
        if u.count
    ]
    return [*found, *(Finding('check.files', '', remark) for remark in reader.remarks)]
