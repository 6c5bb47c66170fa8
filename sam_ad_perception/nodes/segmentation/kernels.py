"""Compile every kernel that a frame meets, before the first one comes, on all cores.

numba keeps what it compiled beside the code, or in `NUMBA_CACHE_DIR`; later processes load it.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed

from sam_ad_perception.core.registry import resolve
from sam_ad_perception.core.sensors import Modality

_CORE = 'sam_ad_perception.core'
WARM_UPS = {
    'health': f'{_CORE}.health.measures:warm_up',
    'repetition': f'{_CORE}.health.repetition:warm_up_comparison',
    'depth image': f'{_CORE}.lidar.depth_image:warm_up',
    'event packets': f'{_CORE}.events.encoding:warm_up',
    'pictures': f'{_CORE}.images.area_resize:warm_up',
    'selections': f'{_CORE}.selections.messages:warm_up',
}
"""What is compiled -> the function that compiles it; the slowest first. Watches come beside."""

FRAME = 'a frame'
"""What only a frame as a whole meets: how sensors are drawn, how a mask is made."""


def compile_kernels(workers: int | None = None) -> Iterator[tuple[str, int, int]]:
    """Compile in several processes.

    Args:
        workers: Number of processes; None for one per core.

    Yields:
        What is done now, how many are done, and of how many.
    """
    watches = {
        f'health of {modality}': modality.record.watch
        for modality in Modality
        if modality.kind is modality and isinstance(modality.record.watch, str)
    }
    total = len(watches) + len(WARM_UPS) + 1
    # a fork would take over threads that are not there
    spawn = multiprocessing.get_context('spawn')
    count = workers or len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(count, mp_context=spawn) as pool:
        jobs = {pool.submit(_warm_up, text): name for name, text in WARM_UPS.items()}
        jobs.update({pool.submit(_warm_up_watch, text): name for name, text in watches.items()})
        for done, job in enumerate(as_completed(jobs), 1):
            job.result()
            yield jobs[job], done, total
        # last: it meets those kernels, too, and loads them
        pool.submit(_segment_a_frame).result()
        yield FRAME, total, total


def _warm_up(function: str) -> None:
    resolve(function)()


def _warm_up_watch(watch: str) -> None:
    resolve(watch).warm_up()


def _segment_a_frame() -> None:
    """Load the smallest network as the node does, which ends with a frame of every sensor."""
    from sam_ad_perception.nodes.ros.configuration import ModelConfig, SegmentationConfig
    from sam_ad_perception.nodes.segmentation.model_loading import load_model

    _warm_up(WARM_UPS['event packets'])
    load_model(SegmentationConfig(model=ModelConfig(key='mle_sam_fast', threads=1)), _keep_quiet)


def _keep_quiet(text: str) -> None:
    """Tell nobody."""
