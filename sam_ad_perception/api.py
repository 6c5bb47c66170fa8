"""Functions of the public API that put several parts of the package together."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from sam_ad_perception.bags.bundles import BundleOptions
from sam_ad_perception.bags.bundles import read_bundles as _read_bundles
from sam_ad_perception.bags.camera_views import choose_views, list_cameras
from sam_ad_perception.bags.labelling.recording import label_bag as _label_bag
from sam_ad_perception.bags.labelling.view_run import LabelOptions, LabelReport
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.topics import choose_topics
from sam_ad_perception.core.geometry.calibration import Calibration, load_calibration
from sam_ad_perception.core.sensors import Modality, SensorBundle
from sam_ad_perception.core.status import ReasonTally
from sam_ad_perception.modeling.inference.segmenter import Segmenter

_log = logging.getLogger(__name__)


def read_bundles(
    bag: str | Path,
    *,
    topics: Mapping[str, str] | None = None,
    calibration: Calibration | str | Path | None = None,
) -> Iterator[SensorBundle]:
    """Read a recording as bundles: what all sensors saw around each reference frame.

    Of several cameras one is read, which is logged as a warning unless `topics` names it.
    Reference frames without a bundle are logged at the end as a warning, by their reason.

    Args:
        bag: A rosbag2 recording, MCAP or SQLite.
        topics: Topic of a role (`bags.topics.roles`: `camera`, `camera_info`, `lidar` ...) where
            the guess from types and names is wrong; an empty name leaves the sensor out.
        calibration: Transforms and camera geometry that the bag lacks.

    Yields:
        The bundles in the order of time.

    Raises:
        ValueError: The bag is damaged or has no such topic.
        OSError: A file cannot be read.
    """
    options = BundleOptions(calibration=_calibration(calibration))
    dropped = ReasonTally()
    with BagReader(Path(bag)) as reader:
        mapping = choose_topics(reader, topics)
        if not {'camera', 'camera_info'} & {*(topics or {})}:
            cameras = list_cameras(reader, topics).values()
            if len(cameras) > 1:
                one = mapping.sensors[Modality.CAMERA].data
                _log.warning('%s: of the cameras %s only %s is read', bag, ', '.join(cameras), one)
        for result in _read_bundles(reader, mapping, options):
            if isinstance(result, SensorBundle):
                yield result
            else:
                dropped.add(result.reason)
    for reason, count in dropped.counts.items():
        _log.warning('%s: %d reference frames without a bundle: %s', bag, count, reason)


def label_bag(
    bag: str | Path,
    out: str | Path,
    segmenter: Segmenter,
    *,
    topics: Mapping[str, str] | None = None,
    calibration: Calibration | str | Path | None = None,
    overwrite: bool = False,
) -> LabelReport:
    """Write a recording with masks, confidence, depth and labelled points beside its inputs.

    Every camera is labelled; of several each one's results stand under a name of its own, see
    `bags.camera_views`. `topics` with a `camera` labels that one alone.

    Args:
        bag: A rosbag2 recording, MCAP or SQLite.
        out: Folder of the labelled recording (MCAP).
        segmenter: Makes the masks.
        topics: See `read_bundles`.
        calibration: See `read_bundles`.
        overwrite: Whether an existing recording `out` may be replaced.

    Returns:
        What came out: masks, dropped frames by reason, latency per stage.

    Raises:
        ValueError: The bag is unreadable, has no camera geometry, or no sensor; or `out` exists.
        OSError: A file cannot be read or written.
    """
    with BagReader(Path(bag)) as reader:
        views = choose_views(reader, topics).mappings
    return _label_bag(
        Path(bag),
        Path(out),
        segmenter,
        segmenter.labels,
        views=views,
        options=LabelOptions(calibration=_calibration(calibration)),
        overwrite=overwrite,
    )


def _calibration(calibration: Calibration | str | Path | None) -> Calibration:
    if calibration is None:
        return Calibration()
    if isinstance(calibration, Calibration):
        return calibration
    return load_calibration(Path(calibration))
