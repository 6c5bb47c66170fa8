"""Read a folder with datumaro, in an interpreter of its own, and write the folder again.

    python datumaro_reader.py FORMAT FOLDER OUT.npz AGAIN

Writes the ids that it sees, by name of the picture, 255 for what no class covers; ids are those of
the names in NAMES.
"""

import json
import sys

import datumaro
import numpy as np


def plain(name: str) -> str:
    """Datumaro writes the names of Cityscapes without spaces."""
    return name.lower().replace(' ', '')


def main() -> None:
    kind, folder, out, again, names = sys.argv[1:]
    names = [plain(n) for n in json.loads(names)]
    dataset = datumaro.Dataset.import_from(folder, kind)
    categories = dataset.categories()[datumaro.AnnotationType.label]
    known = [plain(each.name) for each in categories.items]
    masks = {}
    for item in dataset:
        found = [a for a in item.annotations if isinstance(a, datumaro.Mask)]
        mask = np.full(found[0].image.shape, 255, np.uint8)
        for each in sorted(found, key=lambda a: a.z_order):
            name = known[each.label]
            if name in names:
                mask[each.image > 0] = names.index(name)
        masks[item.id.split('/')[-1]] = mask
    np.savez(out, **masks)
    dataset.export(again, kind, save_media=True)


main()
