"""Masks of a labelled recording written for an annotation tool."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.messages.from_ros import stamp_of
from sam_ad_perception.core.transaction import write_folder
from training.annotation.disagreement import measure_disagreement, open_network
from training.annotation.exchange import MaskFormat, check_colours
from training.annotation.formats import FORMATS
from training.annotation.labelled_recording import (
    POINTS_TOPIC,
    RecordedMasks,
    bundles_of,
    draw_bundle,
    find_classes,
    read_facts,
    read_masks,
)
from training.annotation.picks import FrameFacts, parse_where, pick_frames
from training.annotation.semantic_kitti import CloudWriter
from training.datasets.own.recorded_labels import TOLERANCE_NS, has_messages
from training.frames.frame import DatasetError


@dataclass(frozen=True)
class ExportOptions:
    """What is written.

    Attributes:
        format: Key of `formats.FORMATS`.
        every: See `picks.pick_frames`.
        least_confident: Likewise.
        where: See `picks.parse_where`; '' takes all frames.
        label_space: Of the masks; '' takes what the recording says.
        clouds: Whether labelled sweeps are written beside the masks.
        network: Network by which doubt is measured too, see `disagreement.open_network`; ''
            takes the recorded confidence alone.
    """

    format: str = 'masks'
    every: int = 1
    least_confident: int = 0
    where: str = ''
    label_space: str = ''
    clouds: bool = True
    network: str = ''


@dataclass(frozen=True)
class ExportReport:
    """What was written.

    Attributes:
        frames: What was chosen.
        of: How many masks the recording has.
        space: Their classes.
        pictures: Frames by the sensor whose picture lies below the mask; '' for none.
        clouds: Labelled sweeps.
        limits: What the format does not hold.
    """

    frames: Sequence[FrameFacts]
    of: int
    space: LabelSpace
    pictures: Mapping[str, int] = field(default_factory=dict)
    clouds: int = 0
    limits: str = ''


def export_labels(bag: Path, out: Path, options: ExportOptions | None = None) -> ExportReport:
    """Write frames of a labelled recording for a person to correct.

    Args:
        bag: What `sam_ad label` wrote.
        out: Folder that does not exist; it appears whole or not at all.
        options: What is written.

    Returns:
        What was written.

    Raises:
        DatasetError: The recording has no masks, no frame is chosen, or the format cannot hold
            its classes.
        ValueError: The recording cannot be read, or the folder exists.
    """
    options = options or ExportOptions()
    chosen_format = FORMATS[options.format]
    with BagReader(bag) as reader:
        space = find_classes(reader, options.label_space)
        if chosen_format.by_colour:
            check_colours(space, chosen_format.name)
        masks = read_masks(bag, reader, space)
        facts = [
            dataclasses.replace(each, corrected=each.stamp_ns in masks.corrected)
            for each in read_facts(
                reader, condition=bool(options.least_confident or options.where)
            )
        ]
        chosen = choose(facts, options, reader)
        with write_folder(out) as folder:
            pictures = _write(reader, folder, chosen, masks, chosen_format, space, bag)
            clouds = _write_clouds(reader, folder, chosen, space) if options.clouds else 0
    return ExportReport(chosen, len(facts), space, pictures, clouds, chosen_format.limits)


def choose(
    facts: Sequence[FrameFacts], options: ExportOptions, reader: BagReader
) -> list[FrameFacts]:
    """Choose frames by all that the options say.

    Args:
        facts: All frames of the recording.
        options: Which of them.
        reader: The recording, open.

    Returns:
        The chosen ones, in the order of time.

    Raises:
        DatasetError: There are none, or a network is named and no number of doubtful frames.
    """
    if options.network and not options.least_confident:
        raise DatasetError('--disagreement counts for --least-confident, which is not given')
    kept = list(facts)
    if options.where:
        fulfils = parse_where(options.where, facts)
        kept = [each for each in facts if fulfils(each)]
    if options.network:
        # The network runs on frames that may be chosen, not on the whole drive.
        kept = pick_frames(
            kept, every=options.every, least_confident=_LOOKED_AT * options.least_confident
        )
        kept = measure_disagreement(reader, open_network(options.network), kept)
        chosen = pick_frames(kept, least_confident=options.least_confident)
    else:
        chosen = pick_frames(kept, every=options.every, least_confident=options.least_confident)
    if not chosen:
        why = (
            f'--where {options.where!r} fits {len(kept)}' if options.where else 'all are corrected'
        )
        raise DatasetError(f'no frame is chosen of {len(facts)}: {why}')
    return chosen


def _write(
    reader: BagReader,
    folder: Path,
    chosen: Sequence[FrameFacts],
    masks: RecordedMasks,
    chosen_format: MaskFormat,
    space: LabelSpace,
    bag: Path,
) -> Mapping[str, int]:
    """Write pictures and masks."""
    by_stamp = {each.stamp_ns: each for each in chosen}
    writer = chosen_format.writer(folder, space, bag.resolve().stem)
    pictures: Counter[str] = Counter()
    for stamp_ns, bundle in bundles_of(reader, by_stamp):
        facts = by_stamp.pop(stamp_ns)
        picture, sensor = draw_bundle(bundle, facts)
        pictures[sensor] += 1
        mask = masks[stamp_ns]
        if picture.shape[:2] != mask.shape:
            raise DatasetError(
                f'{bag}: the mask of {stamp_ns} is {mask.shape}, its view {picture.shape[:2]}'
            )
        writer.add(stamp_ns, picture, mask)
    if by_stamp:
        raise DatasetError(
            f'{bag}: {len(by_stamp)} masks have the stamp of no frame, first {min(by_stamp)}: the '
            'recording needs its sensors (label --copy), read with the same clock offsets'
        )
    writer.finish()
    return pictures


def _write_clouds(
    reader: BagReader, folder: Path, chosen: Sequence[FrameFacts], space: LabelSpace
) -> int:
    """Write the labelled sweeps that belong to the chosen frames: the nearest of each."""
    if not has_messages(reader, POINTS_TOPIC):
        return 0
    stamps = [stamp_of(reader.deserialize(m)) for m in reader.messages([POINTS_TOPIC])]
    wanted = {}
    for each in chosen:
        nearest = min(stamps, key=lambda s: abs(s - each.stamp_ns))
        if abs(nearest - each.stamp_ns) <= _SWEEP_NS + TOLERANCE_NS:
            wanted[nearest] = each.stamp_ns
    writer = CloudWriter(folder, space)
    for message in reader.messages([POINTS_TOPIC]):
        cloud = reader.deserialize(message)
        if stamp_of(cloud) in wanted:
            writer.add(stamp_of(cloud), cloud)
    writer.finish()
    return writer.count


_LOOKED_AT = 4
"""So many times the frames that are wanted are compared without each of their sensors."""
_SWEEP_NS = 100_000_000
"""A sweep belongs to a frame that is at most so far: a turn of a lidar at 10 Hz."""
