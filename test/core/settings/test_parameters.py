from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, field

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sam_ad_perception.core.settings.parameter_files import load, not_ours
from sam_ad_perception.core.settings.parameters import (
    ParameterError,
    build,
    check,
    flatten,
    leaves,
    parameter,
)


@dataclass(frozen=True)
class Sensor:
    rate: float = parameter(10.0, 'Frames per second.', ge=0.5, le=60.0, unit='Hz')
    policy: str = parameter('nearest', 'How it waits.', choices=('nearest', 'latest'))


@dataclass(frozen=True)
class Config:
    enabled: bool = parameter(True, 'Whether it runs.')
    count: int = parameter(3, 'How many.', ge=1)
    low: float = parameter(0.1, 'Lower bound.')
    high: float = parameter(0.9, 'Upper bound.')
    weights: tuple[float, ...] = parameter((0.5, 0.5), 'Weights.', ge=0.0)
    corner: tuple[int, int] = parameter((1, 2), 'A point.')
    names: tuple[str, ...] = parameter(('a',), 'Names.', choices=('a', 'b'))
    camera: Sensor = field(default_factory=Sensor)
    lidar: Sensor = field(default_factory=lambda: Sensor(rate=20.0, policy='latest'))

    def __post_init__(self) -> None:
        if self.low >= self.high:
            raise ValueError(f'low {self.low} must be below high {self.high}')


def test_names_are_dotted_and_defaults_come_from_the_field_that_nests():
    found = leaves(Config)
    assert list(found)[-4:] == ['camera.rate', 'camera.policy', 'lidar.rate', 'lidar.policy']
    assert found['lidar.rate'].default == 20.0
    assert found['camera.rate'].default == 10.0
    assert (found['camera.rate'].ge, found['camera.rate'].le) == (0.5, 60.0)
    assert found['camera.rate'].unit == 'Hz'
    assert found['weights'].type is float
    assert found['weights'].length == -1
    assert found['corner'].length == 2
    assert found['enabled'].length is None


def test_build_overrides_only_what_is_named_and_keeps_nested_defaults():
    config = build(Config, {'count': 7, 'lidar.rate': 5.0, 'weights': [0.25, 0.75]})
    assert config == Config(count=7, weights=(0.25, 0.75), lidar=Sensor(5.0, 'latest'))
    with pytest.raises(FrozenInstanceError):
        config.count = 1


@pytest.mark.parametrize(
    ('name', 'value', 'sentence'),
    [
        ('low', 1, "'low' must be of type float, got 1 (int); write 1.0"),
        ('count', True, "'count' must be of type int, got True (bool)"),
        ('count', 2.0, "'count' must be of type int, got 2.0 (float)"),
        ('enabled', 1, "'enabled' must be of type bool, got 1 (int)"),
        ('low', None, "'low' must be of type float, got null"),
        ('camera.policy', 5, "'camera.policy' must be of type str, got 5 (int)"),
        ('count', 0, "'count' must be at least 1, got 0"),
        ('camera.rate', 61.0, "'camera.rate' must be at most 60.0 Hz, got 61.0"),
        ('camera.rate', float('nan'), "'camera.rate' must be finite, got nan"),
        ('camera.policy', 'exact', "'camera.policy' must be one of ['nearest', 'latest']"),
        ('weights', 0.5, "'weights' must be a list of float, got 0.5 (float)"),
        ('weights', [], "'weights' must not be an empty list"),
        ('weights', [0.5, -1.0], "'weights' must be at least 0.0, got -1.0"),
        ('weights', [0.5, 1], "'weights' must be of type float, got 1 (int)"),
        ('corner', [1, 2, 3], "'corner' must have 2 items, got 3"),
        ('names', 'a', "'names' must be a list of str, got 'a' (str)"),
        ('names', ['c'], "'names' must be one of ['a', 'b'], got 'c'"),
        ('camera.rat', 1.0, "unknown parameter 'camera.rat', did you mean 'camera.rate'?"),
        ('zzz', 1.0, "unknown parameter 'zzz'; known are"),
    ],
)
def test_a_wrong_value_is_refused_by_name(name, value, sentence):
    with pytest.raises(ParameterError) as caught:
        build(Config, {name: value})
    assert sentence in str(caught.value)


def test_rules_across_fields_hold_after_all_values_are_in():
    assert build(Config, {'low': 0.95, 'high': 0.99}).low == 0.95
    with pytest.raises(ParameterError, match=r'low 0\.95 must be below high 0\.9'):
        build(Config, {'low': 0.95})


def test_a_nested_rule_names_its_place():
    @dataclass(frozen=True)
    class Outer:
        inner: Config = field(default_factory=Config)

    with pytest.raises(ParameterError, match=r"parameters 'inner': low 5\.0"):
        build(Outer, {'inner.low': 5.0})


@given(st.integers() | st.booleans() | st.text() | st.none() | st.floats() | st.binary())
def test_whatever_comes_is_taken_with_its_own_type_or_refused_by_name(value):
    taken = {}
    for declared in leaves(Config).values():
        try:
            taken[declared.name] = check(declared, value)
        except ParameterError as err:
            taken[declared.name] = declared.default
            named = repr(declared.name) in str(err)
            if not named:
                raise
    config = flatten(build(Config, {k: v for k, v in taken.items() if k not in ('low', 'high')}))
    assert all(config[k] == v for k, v in taken.items() if k not in ('low', 'high'))
    assert {k: type(v) for k, v in config.items()} == {
        k: tuple if d.length is not None else d.type for k, d in leaves(Config).items()
    }


def test_flatten_is_the_inverse_of_build():
    config = build(Config, {'camera.rate': 3.0, 'names': ['b', 'a']})
    assert build(Config, flatten(config)) == config
    assert set(flatten(config)) == set(leaves(Config))
    assert flatten({'a': {'b': {'c': 1}}, 'd': 2}) == {'a.b.c': 1, 'd': 2}


def write(path, text):
    path.write_text(text)
    return path


def test_load_reads_what_ros_reads(tmp_path):
    file = write(
        tmp_path / 'p.yaml',
        """
/**:
  ros__parameters:
    use_sim_time: true
    qos_overrides: {/tf: {depth: 5}}
    count: 4
    low: 1e-3
    camera:
      rate: 5.0
/perception/segmentation:
  ros__parameters:
    count: 5
    camera.policy: latest
other:
  ros__parameters: {unheard_of: 1}
""",
    )
    assert load(Config, file) == Config(count=4, low=0.001, camera=Sensor(5.0))
    expected = Config(count=5, low=0.001, camera=Sensor(5.0, 'latest'))
    assert load(Config, file, '/perception/segmentation') == expected
    assert load(Config, file, 'perception/segmentation') == expected


def test_a_full_file_gives_the_defaults_back(tmp_path):
    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in flatten(Config()).items()}
    file = tmp_path / 'full.yaml'
    file.write_text(yaml.safe_dump({'/**': {'ros__parameters': plain}}))
    assert load(Config, file) == Config()


OTHERS = ('robot_name', 'wheel_base_m', 'device', 'model', 'driver.rate', 'exposure.policy')
NEARLY_OURS = ('cout', 'cuont', 'counts', 'lwo', 'nmaes', 'camera.rat', 'camera.fps', 'camra.rate')
NEARLY_OURS += ('lidra.policy', 'camera.camera.rate')


@pytest.mark.parametrize('name', OTHERS)
def test_a_name_that_is_nothing_like_ours_belongs_to_others(name, tmp_path, caplog):
    assert not_ours(Config, ['count', name, 'use_sim_time']) == [name]
    file = write(tmp_path / 'p.yaml', f'/**: {{ros__parameters: {{count: 4, {name}: 7}}}}')
    assert load(Config, file) == Config(count=4)
    assert f'left alone, no parameters of ours: {name}' in caplog.text


@pytest.mark.parametrize('name', NEARLY_OURS)
def test_a_name_that_is_nearly_ours_is_refused_with_the_one_that_was_meant(name, tmp_path):
    assert not_ours(Config, [name]) == []
    file = write(tmp_path / 'p.yaml', f'/**: {{ros__parameters: {{{name}: 7}}}}')
    with pytest.raises(ParameterError, match=f"unknown parameter '{name}', did you mean '"):
        load(Config, file)


@pytest.mark.parametrize(
    ('text', 'sentence'),
    [
        ('[1, 2]', 'must hold `<node name>: ros__parameters: ...`'),
        ('a: {b: [}', 'is not valid YAML'),
        ('/**: {parameters: {count: 1}}', 'must hold exactly `ros__parameters`'),
        (
            'camera: {ros__parameters: {count: 1}}',
            "has no parameters for '/**', it has ['camera']",
        ),
        ('/**: {ros__parameters: {count: 1, count: 2}}', "'count' is given twice, line 1"),
        ('/**: {ros__parameters: {count: }}', "'count' must be of type int, got null"),
        ('/**: {ros__parameters: {lidar: {rate: 9}}}', "'lidar.rate' must be of type float"),
        ('/**: {ros__parameters: {cuont: 9}}', "unknown parameter 'cuont', did you mean 'count'?"),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence(tmp_path, text, sentence):
    with pytest.raises(ParameterError) as caught:
        load(Config, write(tmp_path / 'p.yaml', text))
    assert sentence in str(caught.value)
    assert str(tmp_path / 'p.yaml') in str(caught.value)


def test_a_declaration_that_ros_could_not_take_is_a_programming_error():
    with pytest.raises(ValueError, match='cannot default to an empty list'):
        parameter((), 'Nothing.')

    @dataclass(frozen=True)
    class Mixed:
        pair: tuple[int, str] = parameter((1, 'a'), 'Two things.')

    @dataclass(frozen=True)
    class Bare:
        size: int = 3

    for kind, name in ((Mixed, r'Mixed\.pair'), (Bare, r'Bare\.size')):
        with pytest.raises(TypeError, match=name):
            leaves(kind)


@dataclass(frozen=True)
class Asking:
    rectified: str = parameter('auto', 'Whether.', choices=('auto', 'true', 'false'))


@pytest.mark.parametrize(
    ('written', 'read'),
    [('true', 'true'), ('false', 'false'), ("'true'", 'true'), ('auto', 'auto'), ('yes', 'true')],
)
def test_a_plain_bool_is_one_of_the_words_where_there_is_a_third(tmp_path, written, read):
    file = write(tmp_path / 'p.yaml', f'/**: {{ros__parameters: {{rectified: {written}}}}}')
    assert load(Asking, file) == Asking(read)


@pytest.mark.parametrize('written', ['1', '0.5', 'maybe', '[true]', "'True'"])
def test_anything_else_is_refused_with_the_words(tmp_path, written):
    file = write(tmp_path / 'p.yaml', f'/**: {{ros__parameters: {{rectified: {written}}}}}')
    with pytest.raises(ParameterError, match=r'must be one of .*auto.*true.*false.*got'):
        load(Asking, file)
