"""The runner of experiments: trains variants of one recipe, measures each, keeps the figures."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn

from sam_ad_perception.modeling.zoo.entries import ModelSpec
from training.configuration.run import TrainConfig
from training.networks.checkpoint import save_atomically
from training.networks.start import build_network
from training.runs.batches import open_frames
from training.runs.failures import EXPECTED
from training.runs.trainer import Trainer
from training.train import Run, report_end

Build = Callable[[ModelSpec, TrainConfig, Console], nn.Module]


@dataclass(frozen=True)
class Variant:
    """One run of an experiment.

    Attributes:
        name: Key of its figures.
        config: The run, with a folder of its own.
        build: Makes the network.
    """

    name: str
    config: TrainConfig
    build: Build = build_network


def run_variants(
    variants: Sequence[Variant],
    measure: Callable[[str, Run], Mapping[str, Any]],
    file: Path,
    console: Console,
) -> dict[str, dict[str, Any]]:
    """Train and measure variants one after the other.

    Args:
        variants: The runs; one that was cut off goes on, one that is finished is only measured.
        measure: `(name, finished run) -> figures`.
        file: JSON of the figures by name; those of other variants in it stay.
        console: Where progress is shown.

    Returns:
        All figures of the file. `cpu_minutes` is what training took, over all its parts.

    Raises:
        SystemExit: A run cannot go on; why is said.
    """
    results: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.exists() else {}
    for variant in variants:
        console.rule(variant.name)
        start = time.process_time()
        run = finish_run(variant.config, console, variant.build)
        minutes = (time.process_time() - start) / 60
        earlier = results.get(variant.name, {}).get('cpu_minutes', 0.0)
        figures = measure(variant.name, run)
        results[variant.name] = {**figures, 'cpu_minutes': earlier + minutes}
        save_atomically((json.dumps(results, indent=1) + '\n').encode(), file)
    return results


def finish_run(config: TrainConfig, console: Console, build: Build = build_network) -> Run:
    """Train one network to its end, or go on where that was cut off.

    Args:
        config: Its run.
        console: Where progress is shown.
        build: Makes the network.

    Returns:
        The finished run.

    Raises:
        SystemExit: It cannot go on; why is said.
    """
    trainer = Trainer(config, console, build)
    try:
        run = Run(trainer, open_frames(trainer.spec, config, config.data), console)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, run.stop)
        run.finish()
    except EXPECTED as error:
        report_end(trainer, error, Console(stderr=True))
        sys.exit(1)
    return run
