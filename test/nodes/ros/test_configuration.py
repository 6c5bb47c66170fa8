"""Rules between parameters of the nodes."""

import pytest

from sam_ad_perception.core.settings.parameters import ParameterError, build
from sam_ad_perception.nodes.ros.configuration import SegmentationConfig


@pytest.mark.parametrize('views', [('',), ('front',), ('front', 'back_left')])
def test_views_are_names_of_topics_or_one_that_is_empty(views):
    assert build(SegmentationConfig, {'views': list(views)}).views == views


@pytest.mark.parametrize(
    ('views', 'message'),
    [
        (['front', ''], 'names of letters, digits and underscores'),
        (['front/left'], 'names of letters'),
        (['2nd'], 'names of letters'),
        (['front', 'front'], 'must differ'),
        ([], 'must not be an empty list'),
    ],
)
def test_views_that_cannot_be_topics_are_refused(views, message):
    with pytest.raises(ParameterError, match=f'views.*{message}'):
        build(SegmentationConfig, {'views': views})


def test_only_images_of_the_camera_tell_whether_they_are_rectified():
    config = build(SegmentationConfig, {'thermal.rectified': False, 'camera.rectified': True})
    assert (config.camera.rectified, config.thermal.rectified) == ('true', 'false')
    assert SegmentationConfig().camera.rectified == 'auto'
    with pytest.raises(ParameterError, match=r'thermal\.rectified must be .* got auto'):
        build(SegmentationConfig, {'thermal.rectified': 'auto'})
