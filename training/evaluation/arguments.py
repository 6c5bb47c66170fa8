"""Command line of an evaluation: networks, data, what is measured, and where it goes."""

from __future__ import annotations

import argparse
from pathlib import Path

from sam_ad_perception.core.console.command_line import (
    CommandParser,
    checked,
    existing_file,
    existing_folder,
    whole_number,
)
from sam_ad_perception.core.console.outputs import new_file, new_folder
from sam_ad_perception.modeling.devices import check_device
from sam_ad_perception.modeling.runtimes.backends import BACKENDS
from training.configuration.fault_cases import SELECTIONS
from training.datasets.catalog import dataset_names
from training.evaluation.data import SIMULATED
from training.evaluation.plan import SUBSETS


def make_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """Declare the arguments of an evaluation.

    Args:
        prog: What the user called it by.
        description: What it does.

    Returns:
        The parser.
    """
    parser = CommandParser(
        prog,
        description,
        examples=(
            'sam_ad evaluate mle_sam_demo --conditions day,night+rain',
            'sam_ad evaluate runs/mine mfnet --root data/mfnet --out results',
        ),
        raw=True,
    )
    parser.add_argument(
        'networks', nargs='+', metavar='network', help='entry of the zoo, run, or file of weights'
    )
    parser.add_argument(
        'dataset',
        nargs='?',
        help=f'{SIMULATED} where none is named, or one of {", ".join(dataset_names())}',
    )
    parser.add_argument(
        '--root', type=existing_folder('the folder of the data set'), help='folder of the data set'
    )
    parser.add_argument(
        '--split', help='default: val; of a file of own data that names `test`, test'
    )
    parser.add_argument(
        '--label-space', default='', help='of recordings that do not say what their labels mean'
    )
    parser.add_argument(
        '--calibration',
        type=existing_file('config/extrinsics.example.yaml shows what it holds'),
        help='of recordings: transforms and cameras that they lack',
    )
    parser.add_argument('--partial', action='store_true', help='less than was published will do')
    parser.add_argument('--zoo', type=Path, help="default: that of a run, else the package's")
    parser.add_argument(
        '--checkpoints', type=Path, help='default: those of the package, or beside --zoo'
    )
    parser.add_argument('--entry', default='', help='entry of weights that do not tell it')
    _add_extent(parser)
    _add_runtime(parser)
    parser.add_argument(
        '--source',
        type=existing_folder('it is what --out wrote'),
        help='--out of a run on the training domain',
    )
    parser.add_argument('--out', type=new_folder(), help='folder for page and figures')
    parser.add_argument('--routing', type=new_file(), help='routing table to write, or to add to')
    return parser


def _add_extent(parser: argparse.ArgumentParser) -> None:
    """What is measured: conditions, sets of sensors, noise and faults."""
    parser.add_argument(
        '--frames', type=whole_number(0), default=0, help='simulated: in each condition'
    )
    parser.add_argument(
        '--conditions',
        type=lambda text: text.split(','),
        default=['day'],
        metavar='NAME,NAME',
        help='light and weather of simulated drives, such as day,night,fog,night+rain',
    )
    parser.add_argument('--subsets', choices=SUBSETS, default='standard')
    parser.add_argument('--noise', action='store_true', help='also with noise on each sensor')
    parser.add_argument(
        '--failures', action='store_true',
        help='missing and noisy sensors as the literature measures them (EMM, RMM, NM), on all '
        'sets of sensors',
    )  # fmt: skip
    parser.add_argument('--faults', choices=SELECTIONS, default='none')
    parser.add_argument(
        '--scales',
        type=float,
        nargs='+',
        default=(),
        metavar='SHARE',
        help='also the mean over several input sizes, with all sensors: 0.5 0.75 1 1.25 1.5 1.75',
    )
    parser.add_argument(
        '--mirror', action='store_true', help='that mean also goes over mirrored frames'
    )
    parser.add_argument(
        '--consecutive',
        action='store_true',
        help='the frames follow each other: tell also how steady the masks are',
    )
    parser.add_argument(
        '--router',
        type=existing_file('--routing writes one'),
        help='also measure a vehicle with this table',
    )


def _add_runtime(parser: argparse.ArgumentParser) -> None:
    """Where the networks run."""
    parser.add_argument(
        '--device', default='cpu', type=checked(_device), help='cpu, cuda or cuda:N'
    )
    parser.add_argument('--backend', default='torch', choices=BACKENDS, help='runs the networks')
    parser.add_argument('--half', action='store_true', help='in half precision, as model.half')
    parser.add_argument(
        '--threads', type=whole_number(0), default=0, help='with 1, latency is CPU time'
    )


def _device(text: str) -> str:
    check_device(text)
    return text
