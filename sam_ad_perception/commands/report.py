"""`sam_ad report`: what a run did, as one page, of a labelled bag, a recorded drive, or many."""

from __future__ import annotations

import argparse
import os
import platform
import shlex
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from sam_ad_perception.commands.options.model import ZOO_ADVICE
from sam_ad_perception.commands.options.topics import (
    add_calibration_option,
    add_topic_option,
    check_bag,
)
from sam_ad_perception.core.benchmarking import find_processor
from sam_ad_perception.core.console.command_line import CommandParser, checked, existing_file
from sam_ad_perception.core.console.outputs import new_folder
from sam_ad_perception.nodes.ros.view_choice import read_view

if TYPE_CHECKING:
    from rich.console import Console

    from sam_ad_perception.bags.reader import BagReader
    from sam_ad_perception.bags.topics import TopicMapping
    from sam_ad_perception.core.labels import LabelSpace
    from sam_ad_perception.modeling.zoo.entries import ModelSpec

STATUS, LABELS = 'semantic/status', 'semantic/label_info'
SIMULATION = 'simulation'
VERSIONS = ('sam_ad_perception', 'torch', 'numpy', 'opencv-python-headless', 'rosbags')


def main(argv: Sequence[str]) -> int:
    """Run the command.

    Args:
        argv: Command line after `sam_ad report`.

    Returns:
        0 where a page of each bag was written, 1 where none of a folder's bags has masks.

    Raises:
        ValueError: A bag cannot be read, holds no status or no label info, or lacks its sensors.
        OSError: A page cannot be written.
    """
    options = _parse(argv)
    from rich.console import Console

    from sam_ad_perception.bags.labelling.fleet import find_bags

    console = Console(stderr=True)
    for path in (*options.bags, *([options.inputs] if options.inputs else [])):
        check_bag(path)
    bags: list[Path] = []
    for path in options.bags:
        found = find_bags(path) if path.is_dir() else [path]
        bags += [path] if found in ([path], []) else [each for each in found if _is_run(each)]
    if len(bags) > 1 and (options.inputs or options.out):
        raise ValueError(f'--inputs and --out are of one bag, got {len(bags)}')
    for bag in bags:
        page = _write(bag, options, f'sam_ad report {shlex.join(argv)}', console)
        console.print(f'{page}', markup=False, highlight=False, soft_wrap=True)
    if not bags:
        named = ', '.join(map(str, options.bags))
        raise ValueError(
            f'no bag in {named} holds {STATUS}: `sam_ad label BAG --out DIR` makes it'
        )
    return 0


def about_networks(
    zoo: Mapping[str, ModelSpec], experts: Sequence[str]
) -> tuple[dict[str, str], str]:
    """Say what the networks of a run are.

    Args:
        zoo: The entries that are known.
        experts: Their keys.

    Returns:
        Facts for the page, and what a reader must know before he believes the masks; '' for
        nothing.
    """
    facts, simulated = {}, []
    for key in experts:
        spec = zoo.get(key)
        if spec is None:
            facts[f'network {key}'] = 'not in the zoo of this machine'
            continue
        weights = spec.checkpoint
        digest = f', sha256 {weights.sha256[:12]}' if weights.sha256 else ''
        facts[f'network {key}'] = f'{spec.description} Weights: {weights.file}{digest}'
        if weights.trained_on == SIMULATION:
            simulated.append(key)
    warning = ''
    if simulated:
        warning = (
            f'{", ".join(simulated)}: trained on simulation only. What the masks say of a real '
            'road is a demonstration of the system, not of a trained network.'
        )
    return facts, warning


def about_machine(whose: str, threads: int = 0) -> dict[str, str]:
    """Describe this machine.

    Args:
        whose: What it did: the name of the fact.
        threads: Of the network; 0 where that is not known.

    Returns:
        Facts for the page.
    """
    found = {name: _version(name) for name in VERSIONS}
    named = ', '.join(f'{name} {version}' for name, version in found.items() if version)
    used = f', {threads} threads of the network' if threads else ''
    return {
        whose: f'{find_processor()}, {os.cpu_count()} logical cores{used}, {platform.system()} '
        f'{platform.release()}',
        'versions': f'Python {platform.python_version()}, {named}',
    }


def about_topics(mapping: TopicMapping) -> dict[str, str]:
    """Name the topics that were read."""
    return {'topics': ', '.join(f'{role} {topic}' for role, topic, _ in mapping.rows())}


def _write(bag: Path, options: argparse.Namespace, command: str, console: Console) -> Path:
    """Write the page of one bag."""
    from sam_ad_perception.bags.bundles import BundleOptions
    from sam_ad_perception.bags.reader import BagReader
    from sam_ad_perception.commands.display.labelling import LabelProgress
    from sam_ad_perception.core.geometry.calibration import Calibration, load_calibration
    from sam_ad_perception.modeling.zoo.entries import load_zoo
    from sam_ad_perception.modeling.zoo.files import zoo_files
    from sam_ad_perception.reporting.drive_page import PageText, write_views_page

    # Which views, networks and sensors the masks were made of.
    inputs = options.inputs or bag
    with BagReader(bag) as reader:
        space = read_label_space(reader, bag)
        views, experts = read_views(reader), read_experts(reader)
    with BagReader(inputs) as reader:
        mappings = map_views(reader, views, dict(options.topic), dict(options.view))
    if not any(topics.data for each in mappings.values() for topics in each.sensors.values()):
        raise ValueError(
            f'{inputs} holds masks but no sensor (label --no-copy): name the recording that was '
            'labelled with --inputs'
        )
    # What stands at the head of the page.
    networks, warning = about_networks(load_zoo(zoo_files(options.zoo or '')[0]), experts)
    first = next(iter(mappings.values()))
    facts = {'recording': str(inputs), 'masks': str(bag), **networks, **about_topics(first)}
    facts |= about_machine('page written on') | {'command': command}
    text = PageText(
        f'Masks of {bag.resolve().name}', facts=facts, left_out=first.left_out(), warning=warning
    )
    # The page itself; both recordings are read twice for it.
    folder = options.out or (bag if bag.is_dir() else bag.parent)
    folder.mkdir(parents=True, exist_ok=True)
    calibration = load_calibration(options.calibration) if options.calibration else Calibration()
    with LabelProgress(console, f'drawing {bag.name}') as progress:

        def show(done: int, total: int) -> None:
            progress.advance(done, total)
            progress.count()

        return write_views_page(
            inputs,
            bag,
            folder,
            space,
            text,
            mappings,
            options=BundleOptions(calibration=calibration),
            progress=show,
            tell=lambda line: console.print(
                f'{bag}: {line}', markup=False, highlight=False, soft_wrap=True
            ),
        )


def read_views(reader: BagReader) -> list[str]:
    """Find the camera views of a labelled bag.

    Args:
        reader: The bag, open.

    Returns:
        The name of each; '' of a single one.

    Raises:
        ValueError: It holds no status.
    """
    names = [t.name.removesuffix(STATUS).strip('/') for t in reader.topics if _ends(t.name)]
    if not names:
        raise ValueError(
            f'{reader.path} holds no {STATUS}: `sam_ad label BAG --out DIR` makes it, and the '
            'recorder of a live run'
        )
    return [''] if len(names) == 1 else names


def map_views(
    reader: BagReader,
    views: Sequence[str],
    overrides: Mapping[str, str],
    given: Mapping[str, str],
) -> dict[str, TopicMapping]:
    """Find which topic of a recording is which sensor, in each view.

    Args:
        reader: The recording, open.
        views: Of `read_views`.
        overrides: Of `--topic`.
        given: Of `--view`: topics of the images of views whose names do not tell them.

    Returns:
        By the name of the view.

    Raises:
        ValueError: `given` names what is no view of the masks, or a view has no camera.
    """
    from sam_ad_perception.bags.camera_views import choose_views
    from sam_ad_perception.bags.topics import choose_topics

    if unknown := set(given) - set(views):
        named = ', '.join(filter(None, views)) or 'none by name'
        raise ValueError(f'--view {unknown.pop()}: the masks have the views {named}')
    if list(views) == ['']:
        return {'': choose_topics(reader, overrides)}
    return dict(
        choose_views(reader, overrides, None, {**dict.fromkeys(views, ''), **given}).mappings
    )


def read_experts(reader: BagReader) -> list[str]:
    """The networks that made the masks of a labelled bag, in the order in which they came."""
    from sam_ad_perception.core.messages.from_ros import status_from_message

    topics = [topic.name for topic in reader.topics if _ends(topic.name)]
    found = (status_from_message(reader.deserialize(m)).expert for m in reader.messages(topics))
    return [key for key in dict.fromkeys(found) if key]


def read_label_space(reader: BagReader, bag: Path) -> LabelSpace:
    """Read the classes of the masks of a labelled bag.

    Args:
        reader: The bag, open.
        bag: Its path, for the message.

    Returns:
        One of `LABEL_SPACES` where its names are those, else one of the names, with own colours.

    Raises:
        ValueError: It says nothing of its classes.
    """
    from sam_ad_perception.core.label_files import label_space_from
    from sam_ad_perception.core.labels import LABEL_SPACES

    topics = [t.name for t in reader.topics if t.name == LABELS or t.name.endswith(f'/{LABELS}')]
    for message in reader.messages(topics):
        classes = reader.deserialize(message).class_map
        named = {int(each.class_id): str(each.class_name) for each in classes}
        for space in LABEL_SPACES.values():
            if named == {each.id: each.name for each in space.classes}:
                return space
        return label_space_from({'names': named}, bag.name, f'{bag}: {LABELS}')
    raise ValueError(f'{bag} does not say what its masks mean: it holds no {LABELS}')


def _is_run(bag: Path) -> bool:
    from sam_ad_perception.bags.reader import BagReader

    with BagReader(bag) as reader:
        return any(_ends(topic.name) for topic in reader.topics)


def _ends(name: str) -> bool:
    return name == STATUS or name.endswith(f'/{STATUS}')


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ''


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = CommandParser(
        prog='sam_ad report',
        description='Write report.html beside each labelled bag: the run in one sentence, every '
        'outage of a sensor with its picture, a timeline, scores where there is a truth. Works on '
        'what `sam_ad label` wrote, on a drive that was recorded with its masks, and on folders '
        'of those.',
        examples=(
            'sam_ad report labelled',
            'sam_ad report all_labelled',
            'sam_ad report masks_only --inputs drive --out page',
        ),
    )
    parser.add_argument('bags', nargs='+', type=Path, metavar='BAG', help='bag, or folder of bags')
    parser.add_argument(
        '--inputs', type=Path, metavar='BAG', help='the recording, where the bag has masks alone'
    )
    parser.add_argument(
        '--out', type=new_folder(), metavar='DIR', help='default: beside the masks'
    )
    add_topic_option(parser)
    parser.add_argument(
        '--view',
        action='append',
        default=[],
        type=checked(read_view),
        metavar='NAME:=TOPIC',
        help='the images of the view NAME are TOPIC, as it was labelled with; for names that do '
        'not tell it themselves',
    )
    add_calibration_option(parser)
    parser.add_argument(
        '--zoo', type=existing_file(ZOO_ADVICE), help='zoo file, default: the one of the package'
    )
    return parser.parse_args(argv)
