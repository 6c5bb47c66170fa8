"""`sam_ad`: the command line. Each command is imported when it is called, and not before."""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sam_ad_perception import __version__
from sam_ad_perception.commands.completion import complete
from sam_ad_perception.core.console.command_line import (
    CommandParser,
    describe_error,
    existing_file,
    existing_folder,
)
from sam_ad_perception.core.console.printable import escape_controls
from sam_ad_perception.modeling.openmp import wait_passively

USAGE_ERROR = 2
INTERRUPTED = 130
PIPE_CLOSED = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: Command line after `sam_ad`; the process's own by default.

    Returns:
        Exit code: 0 done, 1 nothing came out, 2 wrong input (one sentence says what), 130
        interrupted, 141 the reader of the output went away.
    """
    complete(COMMANDS)
    options = _parse(argv)
    _, run = COMMANDS[options.command]
    wait_passively()
    try:
        with orderly_interrupts():
            code = run([expand_home(word) for word in options.arguments])
            sys.stdout.flush()
            return code
    except KeyboardInterrupt as stop:
        kept = str(stop) or KEPT.get(options.command, NOTHING_WRITTEN)
        print(f'sam_ad {options.command}: interrupted; {kept}', file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output, as `head`, has read enough; the interpreter would flush again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except (ValueError, OSError) as err:
        if options.debug:
            raise
        text = '\n'.join(map(escape_controls, describe_error(err).splitlines()))
        print(f'sam_ad {options.command}: {text}', file=sys.stderr)
        return USAGE_ERROR


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the words before the command, and the command."""
    parser = CommandParser(
        prog='sam_ad',
        description='Semantic segmentation from any subset of camera, thermal, event and lidar.',
        examples=(
            'sam_ad demo                        # all of it on a simulated drive',
            'sam_ad check BAG                   # is this recording fit to be labelled?',
            'sam_ad label BAG --out labelled    # its masks',
            'sam_ad COMMAND --help              # more about each',
        ),
    )
    parser.add_argument('--version', action='version', version=f'%(prog)s {__version__}')
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    listing = '; '.join(f'{name}: {text}' for name, (text, _) in COMMANDS.items())
    parser.add_argument('command', choices=COMMANDS, metavar='COMMAND', help=listing)
    parser.add_argument('arguments', nargs=argparse.REMAINDER, help='of the command')
    return parser.parse_args(argv)


@contextmanager
def orderly_interrupts() -> Iterator[None]:
    """Let the first Ctrl-C end the command in order, and a second one end it at once.

    Only where Python's own handler is in place: a program that calls `main` keeps its own.
    """
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not ours or threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def expand_home(word: str) -> str:
    """Put the home folder for `~` behind a `=`, where the shell does not.

    Args:
        word: An argument, such as `--out=~/x` or `output_dir=~/x`.

    Returns:
        The argument.
    """
    name, given, value = word.rpartition('=')
    if value != '~' and not value.startswith('~/'):
        return word
    return f'{name}{given}{Path(value).expanduser()}'


def label(argv: Sequence[str]) -> int:
    """Label recordings."""
    from sam_ad_perception.commands.label import main as run

    return run(argv)


def simulate(argv: Sequence[str]) -> int:
    """Simulate a drive into a recording, or many into a folder to train on."""
    from sam_ad_perception.commands.simulate import main as run

    return run(argv)


def replay(argv: Sequence[str]) -> int:
    """Publish a recording over ROS 2."""
    if importlib.util.find_spec('rclpy') is None:
        raise ValueError(
            'replay publishes over ROS 2, and this Python has no rclpy: source a ROS 2 '
            'installation, or run it from a checkout after `make setup`; `sam_ad label` needs no '
            'ROS'
        )
    from sam_ad_perception.nodes.replay_node import main as run

    return run(argv)


def weights(argv: Sequence[str]) -> int:
    """Fetch official weight files."""
    from sam_ad_perception.commands.display.progress import LineProgress
    from sam_ad_perception.modeling.zoo.downloads import add_arguments, run

    parser = CommandParser(
        prog='sam_ad weights',
        description=weights.__doc__,
        examples=('sam_ad weights sam_vit_b', 'sam_ad weights sam2.1_hiera_tiny --folder weights'),
    )
    add_arguments(parser)
    return run(parser.parse_args(argv), LineProgress)


def models(argv: Sequence[str]) -> int:
    """List the networks of the zoo: size, sensors, and whether their weights are there."""
    from sam_ad_perception.commands.options.model import CHECKPOINT_ADVICE, ZOO_ADVICE

    parser = CommandParser(
        prog='sam_ad models',
        description=models.__doc__,
        examples=('sam_ad models', 'sam_ad models --zoo my_zoo.yaml --checkpoint-dir weights'),
    )
    parser.add_argument(
        '--zoo', type=existing_file(ZOO_ADVICE), help='zoo file, default: the one of the package'
    )
    parser.add_argument(
        '--checkpoint-dir',
        type=existing_folder(CHECKPOINT_ADVICE),
        help='folder of checkpoints',
    )
    options = parser.parse_args(argv)
    from rich.console import Console

    from sam_ad_perception.commands.display.tables import print_table
    from sam_ad_perception.modeling.zoo.entries import load_zoo
    from sam_ad_perception.modeling.zoo.model_table import model_table
    from sam_ad_perception.nodes.ros.configuration import ModelConfig
    from sam_ad_perception.nodes.segmentation.model_loading import model_files

    zoo, folder = model_files(
        ModelConfig(zoo=str(options.zoo or ''), checkpoint_dir=str(options.checkpoint_dir or ''))
    )
    print_table(Console(), model_table(load_zoo(zoo), folder))
    return 0


def train(argv: Sequence[str]) -> int:
    """Train a network, on own folders or by a configuration."""
    from sam_ad_perception.commands.training import run

    return run('train', argv)


def evaluate(argv: Sequence[str]) -> int:
    """Measure trained networks."""
    from sam_ad_perception.commands.training import run

    return run('evaluate', argv)


def prepare(argv: Sequence[str]) -> int:
    """Check data before training."""
    from sam_ad_perception.commands.training import run

    return run('prepare', argv)


def export_labels(argv: Sequence[str]) -> int:
    """Write masks of a labelled bag for an annotation tool."""
    from sam_ad_perception.commands.training import run

    return run('export_labels', argv)


def import_labels(argv: Sequence[str]) -> int:
    """Bring corrected masks back as the truth of a bag."""
    from sam_ad_perception.commands.training import run

    return run('import_labels', argv)


def export(argv: Sequence[str]) -> int:
    """Write a network as ONNX; of a run or its weights, also the one file that vehicles load."""
    first = next((word for word in argv if not word.startswith('-')), '')
    if '/' in first or (first and Path(first).expanduser().exists()):
        from sam_ad_perception.commands.training import run as run_training

        return run_training('export', argv)
    from sam_ad_perception.commands.export import add_arguments, run

    parser = CommandParser(
        prog='sam_ad export',
        description=export.__doc__,
        examples=(
            'sam_ad export mle_sam_demo --out onnx --sensors camera,lidar',
            'sam_ad export runs/mine --out vehicle',
        ),
    )
    add_arguments(parser)
    options = parser.parse_args(argv)
    from sam_ad_perception.nodes.ros.configuration import ModelConfig
    from sam_ad_perception.nodes.segmentation.model_loading import model_files

    named = ModelConfig(zoo=str(options.zoo or ''), checkpoint_dir=str(options.checkpoints or ''))
    return run(options, *model_files(named))


def check(argv: Sequence[str]) -> int:
    """Check a recording before it is labelled."""
    from sam_ad_perception.commands.check import main as run

    return run(argv)


def labels(argv: Sequence[str]) -> int:
    """List the classes of masks, or write them for other tools."""
    from sam_ad_perception.commands.labels import main as run

    return run(argv)


def compile_(argv: Sequence[str]) -> int:
    """Compile the kernels for this computer."""
    from sam_ad_perception.commands.compile import main as run

    return run(argv)


def report(argv: Sequence[str]) -> int:
    """Write the report of a labelled bag."""
    from sam_ad_perception.commands.report import main as run

    return run(argv)


def offsets(argv: Sequence[str]) -> int:
    """Estimate the clock offset of each sensor of a recording."""
    from sam_ad_perception.commands.offsets import main as run

    return run(argv)


def import_(argv: Sequence[str]) -> int:
    """Write recordings of other formats as rosbag2."""
    from sam_ad_perception.commands.import_ import main as run

    return run(argv)


def demo(argv: Sequence[str]) -> int:
    """Show all of it on a simulated drive."""
    from sam_ad_perception.commands.demo.command import main as run

    return run(argv)


def doctor(argv: Sequence[str]) -> int:
    """Look at all that perception stands on."""
    from sam_ad_perception.commands.doctor.command import main as run

    return run(argv)


def bench(argv: Sequence[str]) -> int:
    """Measure what runs the network fastest here."""
    from sam_ad_perception.commands.bench import main as run

    return run(argv)


def completion(argv: Sequence[str]) -> int:
    """Print the completion of a shell."""
    from sam_ad_perception.commands.completion import main as run

    return run(argv)


COMMANDS: dict[str, tuple[str, Callable[[Sequence[str]], int]]] = {
    'demo': ('simulate a drive, run the nodes on it, and write a report', demo),
    'simulate': ('write simulated drives with ground truth, as a bag or to train on', simulate),
    'label': ('write masks, confidence, depth and labelled points beside a bag', label),
    'report': ('write a page of what a labelled bag or a recorded run did', report),
    'check': ('tell what a bag holds and what is wrong with it, before it is labelled', check),
    'import': ('write KITTI, nuScenes, a folder of files or a ROS 1 bag as rosbag2', import_),
    'offsets': ('estimate the clock offset of each sensor of a bag', offsets),
    'replay': ('publish a bag over ROS 2, with faults on demand', replay),
    'doctor': ('check installation, machine, weights and live topics', doctor),
    'models': ('list the networks and the state of their weights', models),
    'labels': ('list the classes of masks, or write them for other tools', labels),
    'weights': ('fetch the official SAM and SAM 2.1 weights', weights),
    'compile': ('compile the kernels for this computer before a first start', compile_),
    'bench': ('measure on this machine which backend runs the network fastest', bench),
    'prepare': ('check a data set, or own folders, before training', prepare),
    'train': ('train a network, on own folders or by a configuration', train),
    'evaluate': ('measure networks with every set of sensors', evaluate),
    'export': ('write what vehicles load of a trained network, or ONNX files of one', export),
    'export-labels': ('write masks of a labelled bag for an annotation tool', export_labels),
    'import-labels': ('bring corrected masks back as the truth of a bag', import_labels),
    'completion': ('print the completion of commands and options for bash or zsh', completion),
}

NOTHING_WRITTEN = 'nothing was written'
KEPT = {
    'demo': 'the steps that were done are kept in --out; the next run begins anew',
    'simulate': 'the drive that was being written is removed, drives that were done are kept',
    'label': 'nothing of the new bag is kept, what stood at --out is as it was',
    'import': 'the recording that was being written is removed',
    'report': 'the page that was being written is removed',
    'weights': 'what has arrived is kept, the same command goes on from there',
    'train': 'the last saved state is kept, the same command goes on from there',
    'evaluate': 'pages and tables that were done are kept',
    'export': 'files that were done are kept',
    'prepare': 'files that were done are kept',
}
"""What Ctrl-C leaves of the commands that write; a command that knows more says it itself."""


if __name__ == '__main__':
    sys.exit(main())
