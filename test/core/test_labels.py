from __future__ import annotations

import cv2
import numpy as np
import pytest

from sam_ad_perception.core.labels import (
    LABEL_SPACES,
    LabelClass,
    LabelSpace,
    apply_mapping,
    mapping,
)

# The benchmark's own order of the 19 training ids.
CITYSCAPES = (
    *('road', 'sidewalk', 'building', 'wall', 'fence', 'pole', 'traffic light', 'traffic sign'),
    *('vegetation', 'terrain', 'sky', 'person', 'rider', 'car', 'truck', 'bus', 'train'),
    *('motorcycle', 'bicycle'),
)


def test_every_space_has_the_number_of_classes_of_its_data_set():
    assert {name: len(space) for name, space in LABEL_SPACES.items()} == {
        'cityscapes': 19,
        'bdd100k': 19,
        'muses': 19,
        'deliver': 25,
        'mfnet': 9,
        'fmb14': 14,
        'fmb15': 15,
        'mcubes': 20,
        'camvid': 11,
    }


def test_cityscapes_is_in_the_order_of_its_training_ids():
    space = LABEL_SPACES['cityscapes']
    assert space.names == CITYSCAPES
    assert space.id_of('car') == 13
    assert tuple(space.palette[13]) == (0, 0, 142)
    assert tuple(space.palette[255]) == (0, 0, 0)


@pytest.mark.parametrize('name', LABEL_SPACES)
def test_colours_tell_classes_apart(name):
    space = LABEL_SPACES[name]
    colors = [c.color for c in space.classes]
    assert len(set(colors)) == len(colors)
    assert all(0 <= value <= 255 for color in colors for value in color)


def test_camvid_ids_are_those_of_the_recorded_labels(sample_data):
    words = (sample_data / 'camvid' / 'classes.txt').read_text().split('\n')
    listed = [line.split()[1] for line in words if line.strip()]
    names = [name.lower() for name in LABEL_SPACES['camvid'].names]
    assert listed[:11] == names
    label = next((sample_data / 'camvid').glob('*annot/*.png'))
    assert cv2.imread(str(label), cv2.IMREAD_UNCHANGED).max() <= 11


def test_fmb15_is_fmb14_behind_a_background():
    fifteen, fourteen = LABEL_SPACES['fmb15'], LABEL_SPACES['fmb14']
    assert fifteen.names[1:] == fourteen.names
    table = mapping(fifteen, fourteen)
    assert table[0] == 255
    assert table[1:15].tolist() == list(range(14))
    assert mapping(fourteen, fifteen)[table[1:15]].tolist() == list(range(1, 15))


@pytest.mark.parametrize(
    ('source', 'name', 'target', 'expected'),
    [
        ('deliver', 'RoadLine', 'cityscapes', 'road'),
        ('deliver', 'Cars', 'cityscapes', 'car'),
        ('deliver', 'TwoWheeler', 'cityscapes', None),
        ('deliver', 'Bridge', 'cityscapes', None),
        ('mfnet', 'bike', 'cityscapes', 'bicycle'),
        ('mfnet', 'unlabeled', 'cityscapes', None),
        ('fmb14', 'Lamp', 'cityscapes', 'traffic light'),
        ('fmb15', 'background', 'cityscapes', None),
        ('camvid', 'Tree', 'muses', 'vegetation'),
        ('bdd100k', 'rider', 'camvid', 'Bicyclist'),
        ('cityscapes', 'terrain', 'camvid', None),
        ('cityscapes', 'train', 'muses', 'train'),
    ],
)
def test_classes_read_as_their_counterparts(source, name, target, expected):
    a, b = LABEL_SPACES[source], LABEL_SPACES[target]
    got = mapping(a, b)[a.id_of(name)]
    assert got == (255 if expected is None else b.id_of(expected))


def test_a_mapping_covers_all_256_values_and_never_invents():
    table = mapping(LABEL_SPACES['deliver'], LABEL_SPACES['cityscapes'])
    assert table.shape == (256,)
    assert (table[25:] == 255).all()
    assert set(table.tolist()) <= {*range(19), 255}
    with pytest.raises(ValueError, match='read-only'):
        table[0] = 1


def test_apply_mapping_equals_opencv_lut(rng):
    table = mapping(LABEL_SPACES['deliver'], LABEL_SPACES['cityscapes'])
    mask = rng.integers(0, 256, (37, 53), dtype=np.uint8)
    np.testing.assert_array_equal(apply_mapping(mask, table), cv2.LUT(mask, table))


def test_what_has_no_relation_is_refused_by_name():
    with pytest.raises(ValueError, match="from label space 'mcubes' to 'cityscapes'; there are"):
        mapping(LABEL_SPACES['mcubes'], LABEL_SPACES['cityscapes'])
    with pytest.raises(ValueError, match="no class 'tram'"):
        LABEL_SPACES['cityscapes'].id_of('tram')


def test_a_malformed_space_or_mask_is_refused():
    a, b = LabelClass(0, 'a', (0, 0, 0)), LabelClass(2, 'b', (1, 1, 1))
    with pytest.raises(ValueError, match=r'ids must be 0, 1, 2, \.\.\., got \[0, 2\]'):
        LabelSpace('gap', (a, b))
    with pytest.raises(ValueError, match='given twice'):
        LabelSpace('twice', (a, LabelClass(1, 'a', (0, 0, 1))))
    with pytest.raises(ValueError, match='must be a free uint8'):
        LabelSpace('ignore', (a,), ignore_id=0)
    table = mapping(LABEL_SPACES['camvid'], LABEL_SPACES['cityscapes'])
    with pytest.raises(ValueError, match='mask must be uint8, got int64'):
        apply_mapping(np.zeros((2, 2), np.int64), table)
    with pytest.raises(ValueError, match=r'\(256,\) uint8, got \(19,\)'):
        apply_mapping(np.zeros((2, 2), np.uint8), table[:19])
