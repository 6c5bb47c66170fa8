"""nav2's semantic_segmentation_layer takes our topics as they are, from any set of sensors.

The layer is written again in `semantic_layer`; it reads our parameter file. The truth of a tile is
what the same layer makes of the simulator's label of each point that the camera sees.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from sam_ad_perception.core.labels import LABEL_SPACES
from test.consumers.semantic_layer import SemanticLayer, Votes

ROOT = Path(__file__).resolve().parents[2]
SPACE = LABEL_SPACES['cityscapes']
CAMERA, THERMAL = '/camera/image_rect', '/thermal/image_rect'
CASES = {
    'by day': ('day', (), 'camera+thermal+event+lidar'),
    'at night without camera': ('night', (CAMERA,), 'thermal+event+lidar'),
    'with a lidar alone': ('day', (CAMERA, THERMAL, '/events'), 'lidar'),
}
LETHAL = 254


@pytest.fixture(scope='module')
def parameters():
    text = (ROOT / 'config/nav2_semantic_layer.yaml').read_text()
    return yaml.safe_load(text)['/**']['ros__parameters']


def fill(layer, drive, labels_of):
    """Show every frame to a layer; `labels_of` gives mask and confidence of a sweep's stamp."""
    (info,) = drive.at['/semantic/label_info'].values()
    layer.take_labels(info)
    for stamp_ns in drive.at['/semantic/points/mask']:
        T = drive.drive.pose(stamp_ns) @ drive.T_base_lidar
        assert layer.take(*labels_of(stamp_ns), drive.at['/points'][stamp_ns], T), layer.refused
    return layer


def ours(drive):
    def labels(stamp_ns):
        mask = drive.at['/semantic/points/mask'][stamp_ns]
        confidence = drive.at['/semantic/points/confidence'][stamp_ns]
        assert mask.header == confidence.header == drive.at['/points'][stamp_ns].header
        assert (mask.encoding, confidence.encoding) == ('mono8', 'mono8')
        return mask, confidence

    return labels


def truth(drive):
    """The simulator's labels of the points that have one of ours."""

    def labels(stamp_ns):
        mask = drive.at['/semantic/points/mask'][stamp_ns]
        cloud = drive.at['/ground_truth/points'][stamp_ns]
        at = next(f.offset for f in cloud.fields if f.name == 'label')
        true = cloud.data.reshape(-1, cloud.point_step)[:, at].copy()
        true[mask.data == 255] = 255
        return replace(mask, data=true), replace(mask, data=np.full(len(true), 255, np.uint8))

    return labels


@pytest.mark.parametrize('case', CASES)
def test_roads_are_free_and_persons_lethal(labelled_drive, parameters, case, capsys):
    condition, without, used = CASES[case]
    drive = labelled_drive(condition, without)
    assert set(drive.report.used) == {used}
    layer = fill(SemanticLayer(parameters), drive, ours(drive))
    true = fill(SemanticLayer(parameters), drive, truth(drive))
    assert set(layer.ignored) == {'vegetation', 'traffic light', 'traffic sign', 'sky'}
    found, wanted = layer.costs(), true.costs()
    both = found.keys() & wanted.keys()
    assert len(both) > 0.95 * len(wanted) > 1000
    dominant = {tile: SPACE.names[votes.dominant] for tile, votes in true.tiles.items()}
    road = [tile for tile in both if dominant[tile] == 'road']
    persons = [tile for tile in both if dominant[tile] in ('person', 'rider')]
    assert len(road) > 1000
    assert len(persons) >= 8
    assert all(wanted[tile] <= 1 for tile in road)
    assert all(wanted[tile] == LETHAL for tile in persons)
    right = np.mean([found[tile] == wanted[tile] for tile in both])
    free = np.mean([found[tile] <= 1 for tile in road])
    lethal = np.mean([found[tile] == LETHAL for tile in persons])
    with capsys.disabled():
        print(f'\n{case}: {right:.1%} of {len(both)} tiles right, {free:.1%} of the road free, '
              f'{lethal:.0%} of {len(persons)} tiles of persons lethal')  # fmt: skip
    assert right > 0.9
    assert free > 0.95
    assert lethal > 0.7


def test_what_does_not_belong_together_is_refused(labelled_drive, parameters):
    drive = labelled_drive('day')
    stamp_ns, other = list(drive.at['/semantic/points/mask'])[:2]
    mask, confidence = ours(drive)(stamp_ns)
    cloud, T = drive.at['/points'][stamp_ns], np.eye(4)
    layer = SemanticLayer(parameters)
    assert not layer.take(mask, confidence, cloud, T)
    layer.take_labels(next(iter(drive.at['/semantic/label_info'].values())))
    assert not layer.take(ours(drive)(other)[0], confidence, cloud, T)
    image = drive.at['/semantic/image'][stamp_ns]  # the mask of the pixels fits no sweep
    assert not layer.take(replace(image, header=mask.header), confidence, cloud, T)
    assert not layer.take(replace(mask, data=mask.data[:-1]), confidence, cloud, T)
    assert [why.split()[0] for why in layer.refused] == [
        'no',
        'stamps',
        '64000',
        f'{mask.width - 1}',
    ]
    assert layer.take(mask, confidence, cloud, T)


def test_classes_compete_for_a_tile_as_the_readme_of_the_layer_says():
    votes = Votes()
    for time in (0.0, 1.0):
        votes.push(1, 200, time, priority=False)
    votes.push(2, 250, 1.5, priority=False)  # one against two
    assert (votes.dominant, votes.size, set(votes.queues)) == (1, 2, {1, 2})
    votes.push(2, 250, 2.0, priority=False)  # two are not more than two
    assert votes.dominant == 1
    votes.push(2, 250, 2.5, priority=False)  # three are: the others are forgotten
    assert (votes.dominant, votes.size, set(votes.queues)) == (2, 3, {2})
    votes.push(3, 1, 3.0, priority=True)  # at once, and forgets the others
    assert (votes.dominant, votes.size, set(votes.queues)) == (3, 1, {3})
    votes.push(4, 9, 3.5, priority=False)
    votes.purge(3.2)  # the dominant class has decayed, the next follows
    assert (votes.dominant, votes.size) == (4, 1)
    votes.purge(9.0)
    assert votes.dominant == -1
