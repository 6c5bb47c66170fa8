"""Show what modality dropout and masked gating do to a network that loses sensors.

    python -m training.experiments.ablation [RUN ...]

The published MLE-SAM falls from 64 to 16 mIoU on DELIVER when it loses depth. Networks that differ
in nothing but modality dropout in training, and in whether absent modalities are masked or stand
there as zeros, are measured on every set of sensors, on held-back simulated drives. How they are
trained stands in training/configs/ablation.yaml.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

from sam_ad_perception.modeling.zoo.entries import load_zoo
from training.evaluation.data import HeldBackDrives
from training.evaluation.presentation.outcome import show
from training.evidence import add_frame_options, make_console, run_tasks, save_tables
from training.evidence_report.bench import SUBSETS, Bench, Job, Task, open_bench
from training.evidence_report.tables import as_records, subset_comparison
from training.evidence_report.targets import Evidence
from training.networks.checkpoint import save_atomically

ZOO = Path('training/configs/ablation_zoo.yaml')
RUNS = Path('runs')


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        prog='python -m training.experiments.ablation',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'runs', nargs='*', help=f'folders of runs; default: those of the zoo in {RUNS}'
    )
    add_frame_options(parser)
    parser.set_defaults(zoo=ZOO, frames=20)
    options = parser.parse_args()
    console = make_console()
    command = shlex.join(['python', '-m', 'training.experiments.ablation', *sys.argv[1:]])
    try:
        zoo = load_zoo(options.zoo)
        default = [str(RUNS / key) for key in zoo if (RUNS / key).is_dir()]
        job = Job(tuple(options.runs or default), options.zoo, options.checkpoints)
        facts = Bench(job).facts
        data = HeldBackDrives(options.frames, options.conditions, scene=options.scene)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    tasks = [Task(data, index, (SUBSETS,)) for index in range(len(data))]
    with open_bench(job, options.workers) as measure:
        parts = run_tasks(measure, tasks, 'ablation', console)
    evidence = Evidence(facts, data.sensors, options.conditions, parts)
    table = subset_comparison(evidence, {key: spec.description for key, spec in zoo.items()})
    show(table, console)
    records = {'command': command, 'frames': data.split, **as_records(evidence, (), ())}
    options.out.mkdir(parents=True, exist_ok=True)
    save_atomically((json.dumps(records, indent=1) + '\n').encode(), options.out / 'ablation.json')
    save_tables(f'`{command}`: {data.split}.', [table], options.out / 'ablation.md')
    console.print(f'wrote {options.out}/ablation.json and ablation.md', soft_wrap=True)


if __name__ == '__main__':
    main()
