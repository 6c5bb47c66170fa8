"""Corrected masks back into a recording: what is refused, what is counted, what is kept."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam_ad_perception.commands import cli
from training.annotation.corrections import import_labels
from training.annotation.export import ExportOptions, export_labels
from training.datasets.catalog import open_dataset
from training.frames.frame import DatasetError


def put(path: Path, mask: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)


def digest(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob('*') if p.is_file())
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_commands_bring_truth_to_training(bag, masks, truth, tmp_path, capsys):
    """Out, corrected by the simulator's truth, back: training reads just that."""
    out = tmp_path / 'out'
    words = ['--format', 'voc', '--every', '2']
    assert cli.main(['export-labels', str(bag), '--out', str(out), *words]) == 0
    said = capsys.readouterr().out
    assert f'{len(masks) // 2 + len(masks) % 2} of {len(masks)} masks' in said
    assert 'void and background are one' in said
    chosen = sorted(masks)[::2]
    for stamp_ns in chosen:
        with Image.open(out / f'SegmentationClass/{stamp_ns}.png') as image:
            palette = image.getpalette()
        mask = truth[stamp_ns]
        drawn = Image.fromarray(np.where(mask == 255, 0, mask + 1).astype(np.uint8))
        drawn.putpalette(palette)
        drawn.save(out / f'SegmentationClass/{stamp_ns}.png')
    assert cli.main(['import-labels', str(bag), str(out)]) == 0
    said = capsys.readouterr().out
    changed = sum(int((masks[s] != truth[s]).sum()) for s in chosen)
    total = sum(truth[s].size for s in chosen)
    assert f'{changed:,} of {total:,} pixels changed' in said
    car = sum(int(((truth[s] == 13) & (masks[s] != 13)).sum()) for s in chosen)
    (row,) = [line for line in said.splitlines() if ' car ' in line]
    assert f'{car:,}' in row
    data = open_dataset('recordings', bag, 'train', cache=tmp_path / 'cache')
    assert len(data) == len(chosen)
    for k in range(len(data)):
        frame = data.read(k)
        assert not frame.pseudo
        np.testing.assert_array_equal(frame.labels, truth[frame.bundle.stamp_ns])


def test_pictures_lie_below_masks(bag, masks, tmp_path):
    """The camera where it made the mask; in a frame without it a sensor that did."""
    report = export_labels(bag, tmp_path / 'out')
    assert report.pictures['camera'] >= 2
    dark = [f for f in report.frames if 'camera' in f.missing]
    assert dark
    for each in dark:
        with Image.open(tmp_path / f'out/images/{each.stamp_ns}.png') as image:
            assert np.array(image).std() > 5
        assert each.condition in ('', 'day')
    chosen = export_labels(bag, tmp_path / 'dark', ExportOptions(where='missing=camera'))
    assert [f.stamp_ns for f in chosen.frames] == [f.stamp_ns for f in dark]
    assert len(list((tmp_path / 'dark/masks').iterdir())) == len(dark)


def test_nothing_is_imported_where_one_is_wrong(bag, masks, tmp_path):
    stamps = sorted(masks)
    put(tmp_path / f'a/{stamps[0]}.png', masks[stamps[0]])
    put(tmp_path / f'a/{stamps[1]}.png', masks[stamps[1]][::2, ::2])
    put(tmp_path / 'a/5.png', masks[stamps[0]])
    before = digest(bag)
    with pytest.raises(DatasetError) as error:
        import_labels(bag, tmp_path / 'a')
    assert 'is 160x100 pixels, expected 320x200' in str(error.value)
    assert f'5 is the stamp of no mask of the recording, the nearest is {stamps[0]}' in str(
        error.value
    )
    assert digest(bag) == before


@pytest.mark.parametrize(
    ('make', 'words'),
    [
        (lambda m: np.where(m == 4, 77, m).astype(np.uint8), r'has label ids \[77\]'),
        (lambda m: np.full((*m.shape, 3), (9, 8, 7), np.uint8), '#090807'),
    ],
)
def test_unknown_values(make, words, bag, masks, tmp_path):
    stamp_ns = min(masks)
    mask = masks[stamp_ns].copy()
    mask[:4] = 4
    put(tmp_path / f'a/{stamp_ns}.png', make(mask))
    with pytest.raises(DatasetError, match=words):
        import_labels(bag, tmp_path / 'a')
    assert not (bag / 'labels').exists()


def test_jpeg_is_refused(bag, masks, tmp_path):
    stamp_ns = min(masks)
    put(tmp_path / f'a/{stamp_ns}.jpg', masks[stamp_ns])
    with pytest.raises(DatasetError, match='stored as JPEG, which changes values'):
        import_labels(bag, tmp_path / 'a')


def test_labels_are_replaced_only_on_demand(bag, masks, tmp_path):
    first, second, *_ = sorted(masks)
    other = np.full_like(masks[first], 3)
    put(tmp_path / f'a/{first}.png', masks[first])
    put(tmp_path / f'a/{second}.png', masks[second])
    report = import_labels(bag, tmp_path / 'a')
    assert (report.unchanged, report.changed_pixels) == (2, 0)
    (bag / 'labels/note.txt').write_text('of a person')
    before = digest(bag / 'labels')
    put(tmp_path / f'b/{first}.png', other)
    with pytest.raises(DatasetError, match=f'other labels of {first} already: --replace'):
        import_labels(bag, tmp_path / 'b')
    assert digest(bag / 'labels') == before
    report = import_labels(bag, tmp_path / 'b', replace=True)
    assert report.replaced == 1
    with Image.open(bag / f'labels/{first}.png') as image:
        np.testing.assert_array_equal(np.array(image), other)
    after = digest(bag / 'labels')
    changed = [name for name in before if before[name] != after[name]]
    assert changed == [str(bag / f'labels/{first}.png')]
    assert set(after) == set(before)


def test_a_list_of_classes_that_says_otherwise(bag, masks, tmp_path):
    """Ids of ours beside a list in which they mean other classes would be read wrong."""
    stamp_ns = min(masks)
    (bag / 'labels').mkdir()
    (bag / 'labels/classes.json').write_text(json.dumps({'sky': 0, 'road': 1, 'car': 2}))
    put(bag / f'labels/{max(masks)}.png', np.zeros_like(masks[stamp_ns]))
    put(tmp_path / f'a/{stamp_ns}.png', np.ones_like(masks[stamp_ns]))
    before = digest(bag)
    with pytest.raises(DatasetError, match='would be read otherwise'):
        import_labels(bag, tmp_path / 'a')
    assert digest(bag) == before


def test_contradictory_kinds_of_cityscapes(bag, masks, tmp_path):
    export_labels(bag, tmp_path / 'out', ExportOptions('cityscapes'))
    path = next((tmp_path / 'out').rglob('*_labelIds.png'))
    with Image.open(path) as image:
        mask = np.array(image)
    mask[:2] = np.where(mask[:2] == 7, 8, 7)
    put(path, mask)
    with pytest.raises(DatasetError, match='remove those that were not corrected'):
        import_labels(bag, tmp_path / 'out')


def test_folders_that_hold_nothing_or_too_much(bag, tmp_path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(DatasetError, match='holds no masks in a known format'):
        import_labels(bag, tmp_path / 'empty')
    (tmp_path / 'empty/SegmentationClas').mkdir()
    with pytest.raises(DatasetError, match='is SegmentationClass meant'):
        import_labels(bag, tmp_path / 'empty')
    export_labels(bag, tmp_path / 'both')
    (tmp_path / 'both/gtFine').mkdir()
    with pytest.raises(DatasetError, match='as masks, cityscapes: say which with --format'):
        import_labels(bag, tmp_path / 'both')


def test_a_bag_without_masks(bag, tmp_path):
    drive = bag.parent / 'nothing'
    with pytest.raises(ValueError, match='nothing'):
        export_labels(drive, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
