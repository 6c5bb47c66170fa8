"""What other libraries hold is read as they mean it, or refused by a sentence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sam_ad_perception.core.messages.from_arrays import (
    camera_image,
    depth_map,
    event_stream,
    point_cloud,
    thermal_image,
)
from sam_ad_perception.core.sensors import Events

RNG = np.random.default_rng(0)
PIXELS = np.repeat(np.repeat(RNG.integers(0, 256, (5, 6, 3), np.uint8), 8, 0), 8, 1)


@pytest.mark.parametrize('mode', ['L', 'P', '1', 'LA', 'RGBA', 'CMYK', 'YCbCr', 'HSV'])
def test_a_picture_of_pillow_is_read_as_pillow_shows_it(mode: str) -> None:
    image = pytest.importorskip('PIL.Image')
    picture = image.fromarray(PIXELS).convert(mode)
    assert np.array_equal(camera_image(picture), np.asarray(picture.convert('RGB')))


def test_a_deep_picture_of_pillow_is_refused_for_a_camera_and_taken_for_a_thermal_one() -> None:
    image = pytest.importorskip('PIL.Image')
    counts = PIXELS[:, :, 0].astype(np.uint16) * 100
    with pytest.raises(ValueError, match=r'a picture of mode I;16 and size .48, 40. from '):
        camera_image(image.fromarray(counts))
    assert np.array_equal(thermal_image(image.fromarray(counts)), counts)


def test_a_table_of_pandas_is_read_by_the_names_of_its_columns() -> None:
    pandas = pytest.importorskip('pandas')
    points = RNG.normal(0, 10, (9, 5)).astype(np.float32)
    table = pandas.DataFrame(points, columns=['ring', 'intensity', 'z', 'y', 'x'])
    cloud = point_cloud(table)
    assert np.array_equal(cloud.points, points[:, [4, 3, 2]])
    assert np.array_equal(cloud.intensity, points[:, 1])


def test_tensors_of_torch_are_read_and_told_how_to_turn() -> None:
    torch = pytest.importorskip('torch')
    assert np.array_equal(camera_image(torch.from_numpy(PIXELS)), PIXELS)
    assert point_cloud(torch.ones(4, 3)).points.shape == (4, 3)
    with pytest.raises(ValueError, match=r'torch.uint8.*image.permute\(1, 2, 0\)'):
        camera_image(torch.from_numpy(PIXELS).permute(2, 0, 1))
    with pytest.raises(ValueError, match=r'camera is no array .*detach'):
        camera_image(torch.rand(4, 4, 3, requires_grad=True))


@pytest.mark.parametrize('read', [camera_image, thermal_image, depth_map, point_cloud])
def test_masked_values_are_not_read_as_if_they_were_there(read) -> None:  # type: ignore[no-untyped-def]
    values = np.ma.masked_greater(RNG.uniform(0.1, 1.0, (9, 3)), 0.5)
    with pytest.raises(ValueError, match=rf'with {values.mask.sum()} masked values, .*filled'):
        read(values)


@pytest.mark.parametrize(
    ('points', 'told'),
    [
        (np.ones((9, 5)), r'points\[:, :4\]'),
        (np.ones((2, 9, 3)), r'points.reshape\(-1, 3\)'),
    ],
)
def test_the_sentence_says_how_to_make_it_a_cloud(points, told) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=told):
        point_cloud(points)


@pytest.mark.parametrize('kelvin', [0.0, 273.15])
def test_temperatures_are_celsius_or_kelvin_and_nothing_else(kelvin: float) -> None:
    celsius = RNG.normal(20, 5, (8, 9))
    assert np.array_equal(thermal_image(celsius + kelvin), (celsius + kelvin).astype(np.float32))
    with pytest.raises(ValueError, match=r'counts are integers: image.astype\(numpy.uint16\)'):
        thermal_image(celsius * 100 + 7000)
    with pytest.raises(ValueError, match=r'thermal is .* from -4'):
        thermal_image(celsius - 450)


def test_depth_without_a_value_is_nan_and_millimetres_are_refused() -> None:
    metres = RNG.uniform(1, 80, (8, 9))
    holes = metres.copy()
    holes[0, :3] = 0, np.inf, np.nan
    read = depth_map(holes)
    assert np.isnan(read[0, :3]).all()
    assert np.array_equal(read[1:], metres[1:].astype(np.float32))
    with pytest.raises(ValueError, match='millimetres are image / 1000'):
        depth_map(metres * 1000)
    with pytest.raises(ValueError, match=r'depth is .* least -'):
        depth_map(-metres)
    assert np.isnan(depth_map(np.full((4, 4), np.nan))).all()


def test_events_of_lists_and_of_signs_are_ordered() -> None:
    read = event_stream(Events([1, 2, 3], [4, 5, 6], [-1, 1, -1], [30, 10, 20], (10, 10)))
    assert read.x.tolist() == [2, 3, 1]
    assert read.polarity.tolist() == [True, False, False]
    assert read.t_ns.tolist() == [10, 20, 30]
    assert (read.x.dtype, read.t_ns.dtype) == (np.uint16, np.int64)
    with pytest.raises(ValueError, match=r't_ns is .*float64, expected integers; seconds are'):
        event_stream(Events([1], [1], [1], [0.5], (4, 4)))
    with pytest.raises(ValueError, match=r'polarity is \[0, 7\], expected 0 and 1, or -1 and 1'):
        event_stream(Events([1, 1], [1, 1], [0, 7], [1, 2], (4, 4)))
    assert len(event_stream(Events([], [], [], [], (4, 4))).x) == 0


ANY = st.one_of(
    hnp.arrays(
        st.sampled_from(['u1', 'i1', 'u2', 'i4', 'i8', 'f2', 'f4', 'f8', '?', 'c8', 'U2', 'O']),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
    ),
    st.recursive(st.floats() | st.integers() | st.none(), st.lists, max_leaves=8),
)


@pytest.mark.parametrize(
    ('read', 'name'),
    [
        (camera_image, 'camera'),
        (thermal_image, 'thermal'),
        (depth_map, 'depth'),
        (point_cloud, 'lidar'),
    ],
)
@settings(max_examples=150, deadline=None)
@given(value=ANY)
@pytest.mark.filterwarnings('ignore::RuntimeWarning')
def test_whatever_comes_is_read_or_refused_by_a_sentence(read, name, value) -> None:  # type: ignore[no-untyped-def]
    """Property: never another exception; the sentence names argument and what was expected."""
    made, refusal = None, ''
    try:
        made = read(value)
    except ValueError as err:
        refusal = str(err)
    if made is None:
        assert refusal.startswith(name)
        assert 'expected' in refusal
    else:
        shape = made.points.shape if name == 'lidar' else made.shape
        assert len(shape) == (3 if name == 'camera' else 2)
