"""`sam_ad labels`: the classes of a network's masks, for people and for other tools."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sam_ad_perception.core.console.command_line import CommandParser
from sam_ad_perception.core.console.outputs import new_folder
from sam_ad_perception.core.console.suggestions import did_you_mean

if TYPE_CHECKING:
    from sam_ad_perception.core.labels import LabelSpace

DEFAULT_MODEL = 'mle_sam_demo'


def main(argv: Sequence[str]) -> int:
    """List classes or write them as files; see `sam_ad labels --help`."""
    from sam_ad_perception.core.consumers.label_files import FORMS, write_labels

    parser = CommandParser(
        prog='sam_ad labels',
        description='List the classes of masks: ids, names, colours. With --as, write the files '
        'that another tool reads them from.',
        examples=('sam_ad labels --model mle_sam_demo', 'sam_ad labels --space cityscapes'),
    )
    parser.add_argument('--model', help=f'whose masks, default: {DEFAULT_MODEL}')
    parser.add_argument('--space', help='a label space by name, instead of that of a model')
    parser.add_argument('--as', dest='form', choices=FORMS, help='the tool')
    parser.add_argument('--out', type=new_folder(), help='of --as: folder, default: this one')
    options = parser.parse_args(argv)
    if options.model and options.space:
        raise ValueError('--space is taken in place of that of a --model: give one of them')
    if options.out and not options.form:
        raise ValueError(f'--out is of --as, which names the tool: one of {", ".join(FORMS)}')
    space = _find_space(options.model or DEFAULT_MODEL, options.space)
    if options.form is None:
        print(f'label space {space.name}')
        for each in space.classes:
            print(f'{each.id:4} {each.name:20} {"#{:02x}{:02x}{:02x}".format(*each.color)}')
        return 0
    files = write_labels(space, options.form)
    folder = options.out or Path()
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content, encoding='utf-8')
        print(folder / name)
    return 0


def _find_space(model: str, named: str | None) -> LabelSpace:
    """Find the label space of an option, else of a model."""
    from sam_ad_perception.core.labels import LABEL_SPACES

    if named is not None:
        if named not in LABEL_SPACES:
            raise ValueError(
                f'--space must be one of {sorted(LABEL_SPACES)}, got {named!r}'
                f'{did_you_mean(named, LABEL_SPACES)}'
            )
        return LABEL_SPACES[named]
    from sam_ad_perception.modeling.zoo.entries import check_key, load_zoo
    from sam_ad_perception.modeling.zoo.files import find_network, zoo_files

    found = find_network(model)
    zoo, keys = (found[0], found[2]) if found else (zoo_files('', '')[0], [model])
    entries = load_zoo(zoo)
    check_key(entries, keys[0], zoo)
    return entries[keys[0]].labels
