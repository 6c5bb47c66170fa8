"""Learning curve: one run per share of the training frames, with as many optimizer steps.

    python -m training.experiments.data_efficiency CONFIG root=/path/to/camvid
    python -m training.experiments.data_efficiency CONFIG --shares 10 25 50 100

A share is the first frames of the split in its order. What is measured is the averaged weights of
the last step on all frames of the validation split. `output_dir` gets a folder per share,
`data_efficiency.json` and a picture, `data_efficiency.svg`. The same command goes on where it was
cut off.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from training.configuration.run import SIMULATED, TrainConfig, load_config
from training.evaluation.presentation.plots import draw_subsets
from training.experiments.runner import Variant, run_variants
from training.networks.checkpoint import save_atomically
from training.networks.start import find_entry
from training.runs.batches import open_frames
from training.runs.validation import Validator, validation_data
from training.train import Run

FILE = 'data_efficiency.json'


def configure_share(config: TrainConfig, share: float, total: int) -> TrainConfig:
    """Derive the run that sees a share of the frames.

    Args:
        config: The run that sees all.
        share: Percent.
        total: Frames of the split.

    Returns:
        The same run with fewer frames, as many more epochs, and a folder of its own.

    Raises:
        ValueError: The share is none, or fewer frames than a batch has.
    """
    frames = round(total * share / 100)
    if not config.schedule.batch_size <= frames <= total:
        raise ValueError(
            f'a share must give {config.schedule.batch_size} (a batch) to {total} frames, '
            f'{share:g} % gives {frames}'
        )
    epochs = config.schedule.epochs * total / frames
    return dataclasses.replace(
        config,
        output_dir=str(Path(config.output_dir) / f'share_{share:g}'),
        data=dataclasses.replace(config.data, limit=frames),
        schedule=dataclasses.replace(config.schedule, epochs=epochs),
    )


def measure_shares(
    config: TrainConfig, shares: Sequence[float], console: Console
) -> list[dict[str, Any]]:
    """Train and measure one network per share.

    Args:
        config: The run that sees all frames of a dataset on disk.
        shares: Percent each.
        console: Where progress is shown.

    Returns:
        For each share: percent of the frames, their number, steps, mIoU in percent, minutes of
        one core; `data_efficiency.json` has them by share.

    Raises:
        ValueError: A share that cannot be.
    """
    spec = find_entry(config)
    total = open_frames(spec, config, config.data).source.length
    held = open_frames(spec, config, validation_data(config)).source
    every = dataclasses.replace(config.validation, frames=held.length)
    config = dataclasses.replace(config, validation=every)
    parts = {f'{share:g}': configure_share(config, share, total) for share in shares}

    def measure(name: str, run: Run) -> Mapping[str, Any]:
        frames = parts[name].data.limit
        miou = 100 * Validator(run.trainer, held, run.folder).measure()
        return {
            'share': 100 * frames / total,
            'frames': frames,
            'steps': run.trainer.step,
            'miou': miou,
        }

    variants = [Variant(name, part) for name, part in parts.items()]
    results = run_variants(variants, measure, Path(config.output_dir) / FILE, console)
    return [results[name] for name in parts]


def draw_figures(figures: Sequence[Mapping[str, Any]], folder: Path) -> Table:
    """Draw figures as a picture.

    Args:
        figures: As of `measure_shares`.
        folder: Where to.

    Returns:
        The same as a table.
    """
    table = Table('share, %', 'frames', 'steps', 'mIoU, %', title='Data efficiency')
    bars = {}
    for row in figures:
        table.add_row(
            f'{row["share"]:.0f}', str(row['frames']), str(row['steps']), f'{row["miou"]:.2f}'
        )
        bars[f'{row["share"]:.0f} %, {row["frames"]} frames'] = {'mIoU': row['miou']}
    save_atomically(draw_subsets(bars).encode(), folder / 'data_efficiency.svg')
    return table


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        prog='python -m training.experiments.data_efficiency',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', type=Path)
    parser.add_argument('overrides', nargs='*', metavar='name=value')
    parser.add_argument('--shares', nargs='+', type=float, default=[10.0, 25.0, 50.0, 100.0])
    arguments = parser.parse_args()
    console = Console()
    try:
        config = load_config(arguments.config, arguments.overrides)
        if config.dataset == SIMULATED:
            raise ValueError('dataset must be one on disk: data.seeds says how much is simulated')
        figures = measure_shares(config, arguments.shares, console)
        console.print(draw_figures(figures, Path(config.output_dir)))
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == '__main__':
    main()
