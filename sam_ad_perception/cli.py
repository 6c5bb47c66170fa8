"""`sam_ad`: the command line. Each command is imported when it is called, and not before."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

USAGE_ERROR = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: Command line after `sam_ad`; the process's own by default.

    Returns:
        Exit code: 0 done, 1 nothing came out, 2 wrong input (one sentence says what), 130
        interrupted.
    """
    parser = argparse.ArgumentParser(
        prog='sam_ad',
        description='Semantic segmentation from any subset of camera, thermal, event and lidar.',
        epilog='`sam_ad COMMAND --help` tells more about each.',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    listing = '; '.join(f'{name}: {text}' for name, (text, _) in COMMANDS.items())
    parser.add_argument('command', choices=COMMANDS, metavar='COMMAND', help=listing)
    parser.add_argument('arguments', nargs=argparse.REMAINDER, help='of the command')
    options = parser.parse_args(argv)
    _, run = COMMANDS[options.command]
    try:
        return run(options.arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (ValueError, OSError) as err:
        if options.debug:
            raise
        print(f'sam_ad {options.command}: {err}', file=sys.stderr)
        return USAGE_ERROR


def label(argv: Sequence[str]) -> int:
    """Label recordings."""
    from sam_ad_perception.label_command import main as run

    return run(argv)


def simulate(argv: Sequence[str]) -> int:
    """Simulate a drive into a recording, or many into a folder to train on."""
    from sam_ad_perception.simulate_command import main as run

    return run(argv)


def replay(argv: Sequence[str]) -> int:
    """Publish a recording over ROS 2."""
    from sam_ad_perception.nodes.replay_node import main as run

    return run(argv)


def weights(argv: Sequence[str]) -> int:
    """Fetch official weight files."""
    from sam_ad_perception.modeling.weights import add_arguments, run

    parser = argparse.ArgumentParser(prog='sam_ad weights', description=weights.__doc__)
    add_arguments(parser)
    return run(parser.parse_args(argv))


def models(argv: Sequence[str]) -> int:
    """List the networks of the zoo: size, sensors, and whether their weights are there."""
    parser = argparse.ArgumentParser(prog='sam_ad models', description=models.__doc__)
    parser.add_argument('--zoo', type=Path, help='zoo file, default: the one of the package')
    parser.add_argument('--checkpoint-dir', type=Path, help='folder of checkpoints')
    options = parser.parse_args(argv)
    from rich.console import Console

    from sam_ad_perception.modeling.model_table import model_table
    from sam_ad_perception.modeling.zoo import load_zoo
    from sam_ad_perception.nodes.configuration import ModelConfig
    from sam_ad_perception.nodes.model_loading import model_files

    zoo, folder = model_files(
        ModelConfig(zoo=str(options.zoo or ''), checkpoint_dir=str(options.checkpoint_dir or ''))
    )
    Console().print(model_table(load_zoo(zoo), folder))
    return 0


def export(argv: Sequence[str]) -> int:
    """Write a network of the zoo as ONNX, one file for each set of sensors that it takes."""
    from sam_ad_perception.modeling.onnx_command import add_arguments, run

    parser = argparse.ArgumentParser(prog='sam_ad export', description=export.__doc__)
    add_arguments(parser)
    options = parser.parse_args(argv)
    from sam_ad_perception.nodes.configuration import ModelConfig
    from sam_ad_perception.nodes.model_loading import model_files

    named = ModelConfig(zoo=options.zoo or '', checkpoint_dir=options.checkpoints or '')
    return run(options, *model_files(named))


def offsets(argv: Sequence[str]) -> int:
    """Estimate the clock offset of each sensor of a recording."""
    from sam_ad_perception.bags.offset_report import main as run

    return run(argv)


def demo(argv: Sequence[str]) -> int:
    """Show all of it on a simulated drive."""
    from sam_ad_perception.demo import main as run

    return run(argv)


def doctor(argv: Sequence[str]) -> int:
    """Look at all that perception stands on."""
    from sam_ad_perception.nodes.doctor import main as run

    return run(argv)


def bench(argv: Sequence[str]) -> int:
    """Measure what runs the network fastest here."""
    from sam_ad_perception.bench import main as run

    return run(argv)


COMMANDS: dict[str, tuple[str, Callable[[Sequence[str]], int]]] = {
    'demo': ('simulate a drive, run the nodes on it, and write a report', demo),
    'simulate': ('write simulated drives with ground truth, as a bag or to train on', simulate),
    'label': ('write masks, confidence, depth and labelled points beside a bag', label),
    'offsets': ('estimate the clock offset of each sensor of a bag', offsets),
    'replay': ('publish a bag over ROS 2, with faults on demand', replay),
    'doctor': ('check installation, machine, weights and live topics', doctor),
    'models': ('list the networks and the state of their weights', models),
    'weights': ('fetch the official SAM and SAM 2.1 weights', weights),
    'bench': ('measure on this machine which backend runs the network fastest', bench),
    'export': ('write a network as ONNX, one file per set of sensors', export),
}


if __name__ == '__main__':
    sys.exit(main())
