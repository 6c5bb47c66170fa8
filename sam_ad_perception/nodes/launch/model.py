"""What a launch starts: views, remaps, simulated time, environment and outputs of each process.

One description, from which every launch file, each of its processes, RViz and the recorder follow.
Knows nothing of `launch`, so that it can be read and tested without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from sam_ad_perception.core.sensor_kinds import EVENTS, IMAGE, POINTS, image_of
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.nodes.ros import topics
from sam_ad_perception.nodes.ros.configuration import VIEW_NAME

PREFIX = 'sam_ad_'
"""In front of every launch argument but `namespace` and `use_sim_time`: what a launch file sets
reaches all that it includes, and others have a `model`, too."""
VIEW = '{view}/'

_MESSAGES = {
    IMAGE: 'Image of {title}, raw or <topic>/compressed.',
    EVENTS: 'Packets of {title}.',
    POINTS: 'Sweeps of {title}.',
}


def _list_inputs() -> dict[str, tuple[str, str]]:
    """Every input topic of the nodes by its launch argument; `events` and `points` are short."""
    found = {}
    for modality in Modality:
        record, topic = modality.record, modality.topic
        argument = f'{modality}_{record.form}' if '/' in topic else topic
        view = VIEW if modality is Modality.CAMERA else ''
        found[argument] = (view + topic, _MESSAGES[record.form].format(title=record.title))
        if modality.info_topic:
            text = f'Geometry of {record.title}.'
            found[f'{modality}_info'] = (view + modality.info_topic, text)
    motion = 'Twist of the vehicle, where no transform tells its motion.'
    return {**found, 'odometry': (topics.ODOMETRY, motion)}


INPUTS = _list_inputs()
"""Input -> topic to read by default, description. `{view}` is each view; without views it goes."""

SWITCHES = {
    f'use_{sensor}': (
        f'bundler.sync.{sensor}.enabled',
        f'Whether {sensor.record.title} takes part: true, false',
    )
    for sensor in Modality
} | {
    'autostart': (
        'autostart',
        'true: configure and activate at once; false: the lifecycle services do',
    )
}
"""Argument -> parameter that is true or false; description."""

PARAMETERS = {
    'model': ('model.key', 'Entry of the model zoo, or several separated by commas'),
    'zoo': ('model.zoo', 'Zoo file'),
    'checkpoint_dir': ('model.checkpoint_dir', 'Folder of checkpoints'),
    'device': ('model.device', 'Where the network runs: cpu or cuda:0'),
    'calibration': ('calibration', 'File of transforms and geometry that no topic brings'),
    'views': (
        'views',
        'Cameras by name, separated by commas; {view} in a topic is each of them, and NAME:=TOPIC '
        'reads the images of one from TOPIC and its geometry from camera_info beside it',
    ),
    'synchronizer_policy': ('policy', 'deadline or approximate'),
    **SWITCHES,
}
"""Argument -> parameter; left empty, the parameter file decides; description."""


@dataclass(frozen=True)
class NodeKind:
    """What a launch may tell one of our nodes.

    Attributes:
        inputs: Those of `INPUTS` that it reads.
        parameters: Those of `PARAMETERS` that it has.
        per_view: Whether each view has a process of its own.
    """

    inputs: tuple[str, ...]
    parameters: tuple[str, ...]
    per_view: bool = True


_NOT_REPUBLISHED = {'events', 'odometry'} | {
    str(m)
    for m in Modality
    if m.record.form == EVENTS or not m.record.synchronization.get('enabled', True)
}
"""In front of inputs that the synchronizer node does not read."""
NODES = {
    'segmentation': NodeKind(
        tuple(INPUTS),
        ('model', 'zoo', 'checkpoint_dir', 'device', 'calibration', 'views', *SWITCHES),
        per_view=False,
    ),
    'depth_projection': NodeKind(('camera_info', 'points'), ('calibration',)),
    'visualization': NodeKind(('camera_image', 'camera_info', 'points'), ('calibration',)),
    'synchronizer': NodeKind(
        tuple(n for n in INPUTS if n.partition('_')[0] not in _NOT_REPUBLISHED),
        ('synchronizer_policy',),
    ),
}
"""Name of a node, whose executable is `<name>_node`."""

RECORDED = (topics.MASK, topics.CONFIDENCE, topics.STATUS, topics.LABEL_INFO)
"""What is recorded of each view, beside `/diagnostics`."""

RESPAWN_DELAY_S = 2.0
INSIDE = 'inside'
"""Of the argument `visualization`: the segmentation node makes the pictures."""


@dataclass(frozen=True)
class Process:
    """One process that a launch starts.

    Attributes:
        package: Of its executable.
        executable: Its name.
        name: Of the node.
        namespace: Of the node, absolute or relative to that of the including launch file.
        files: Parameter files, later ones win.
        parameters: What counts more than the files.
        remappings: (topic by the name that the node uses, topic to read).
        arguments: Of its command line.
        respawn: Whether it is started again where it dies.
    """

    package: str
    executable: str
    name: str
    namespace: str
    files: tuple[str, ...] = ()
    parameters: Mapping[str, object] = field(default_factory=dict)
    remappings: tuple[tuple[str, str], ...] = ()
    arguments: tuple[str, ...] = ()
    respawn: bool = False


@dataclass(frozen=True)
class PerceptionLaunch:
    """One launch as the user asked for it.

    Attributes:
        given: Value of each argument, by its name without prefix; those of `INPUTS` complete.
        files: Parameter files of each node that may be started.
        base: Namespace that the including launch file puts in front of ours, absolute or empty.
        simulated: What all processes shall hold of `use_sim_time`; None for what they were told.
    """

    given: Mapping[str, str]
    files: Mapping[str, tuple[str, ...]]
    base: str = ''
    simulated: bool | None = None

    @property
    def views(self) -> tuple[str, ...]:
        """The camera views: of the argument, else of the segmentation node's parameter files.

        Raises:
            ValueError: A name is none that ROS allows, or is given twice.
        """
        return tuple(self.cameras)

    @property
    def cameras(self) -> dict[str, str]:
        """Name of each view -> topic of its images where the argument names one, else ''.

        Raises:
            ValueError: As `views`.
        """
        told = self.given.get('views', '')
        named = [each.strip() for each in told.split(',')]
        source = f'{PREFIX}views:={told}'
        if not told:
            named, source = views_of(self.files.get('segmentation', ())), 'views'
        if named == ['']:
            return {'': ''}
        found: dict[str, str] = {}
        for each in named:
            name, arrow, topic = each.partition(':=')
            if not VIEW_NAME.fullmatch(name):
                raise ValueError(
                    f'{source}: a view is named by letters, digits and underscores and begins '
                    f'with a letter, got {name!r}'
                )
            if arrow and not topic:
                raise ValueError(f'{source}: expected a topic behind {each}')
            if name in found:
                raise ValueError(f'{source}: views must differ')
            found[name] = topic
        return found

    def nodes(self, name: str) -> list[Process]:
        """Describe the processes of one of our nodes.

        Args:
            name: One of `NODES`.

        Returns:
            One, or one for each view, in the view's namespace.

        Raises:
            ValueError: An argument is refused.
        """
        kind, views = NODES[name], self.views
        parameters = self._parameters(kind)
        respawn = is_true('respawn', self.given.get('respawn', 'true'))
        made = []
        for view in views if kind.per_view else ('',):
            inner = self._remappings(kind.inputs, (view,) if kind.per_view else views)
            made.append(
                Process(
                    package='sam_ad_perception',
                    executable=f'{name}_node',
                    name=name,
                    namespace=join(self.given.get('namespace', ''), view),
                    files=self.files[name],
                    parameters=parameters,
                    remappings=self._absolute(inner, view) if view else inner,
                    respawn=respawn,
                )
            )
        return made

    def recorder(self, folder: str) -> Process:
        """Describe the recorder of what perception says about all views.

        Args:
            folder: Of the new bag.
        """
        named = [topics.in_view(view, each) for view in self.views for each in RECORDED]
        return Process(
            package='sam_ad_perception',
            executable='recorder_node',
            name='recorder',
            namespace=self.given.get('namespace', ''),
            parameters=self.time,
            arguments=(folder, *named, '/diagnostics'),
        )

    def replay(self, bag: str, rate: str) -> Process:
        """Describe the replay of a recording in lockstep with the nodes; it is the clock.

        Args:
            bag: Folder or file.
            rate: Times real time.
        """
        return Process(
            package='sam_ad_perception',
            executable='replay_node',
            name='replay',
            namespace=self.given.get('namespace', ''),
            parameters={'use_sim_time': False},
            arguments=(bag, '--lockstep', '--rate', rate, *self._replayed_views()),
        )

    def _replayed_views(self) -> list[str]:
        """Tell a replay which recorded cameras are views; it gives each the name of its inputs."""
        named = [f'{name}:={topic}' if topic else name for name, topic in self.cameras.items()]
        return [word for each in named if each for word in ('--view', each)]

    def rviz(self, config: Path) -> Process:
        """Describe RViz, which reads the topics that the segmentation node reads.

        Args:
            config: Its display configuration.
        """
        return Process(
            package='rviz2',
            executable='rviz2',
            name='rviz',
            namespace=self.given.get('namespace', ''),
            parameters=self.time,
            remappings=self._remappings(tuple(INPUTS), self.views),
            arguments=('-d', str(config)),
        )

    @property
    def time(self) -> dict[str, object]:
        """The parameter `use_sim_time`, where it is to be set."""
        return {} if self.simulated is None else {'use_sim_time': self.simulated}

    def _parameters(self, kind: NodeKind) -> dict[str, object]:
        """Find the parameters that arguments set beside the parameter files."""
        found: dict[str, object] = {}
        for name in kind.parameters:
            value = self.given.get(name, '')
            if name == 'views':
                if self.views != ('',):
                    found['views'] = list(self.views)
            elif value and name in SWITCHES:
                found[SWITCHES[name][0]] = is_true(name, value)
            elif value:
                found[PARAMETERS[name][0]] = value
        if kind is NODES['segmentation'] and self.given.get('visualization', '').lower() == INSIDE:
            found['visualization.enabled'] = True
        return found | self.time

    def _remappings(
        self, inputs: tuple[str, ...], views: tuple[str, ...]
    ) -> tuple[tuple[str, str], ...]:
        """List which topic is read from where, by the names of a node that has these views."""
        found = []
        # A replay that is started here publishes each camera under the name of its inputs.
        own = {} if self.given.get('bag') else self.cameras
        for view in views:
            beside = camera_topics(own.get(view, ''))
            for name in inputs:
                source = topics.in_view(view, INPUTS[name][0].removeprefix(VIEW))
                told = beside.get(name) or self.given.get(name) or INPUTS[name][0]
                if not view and told == INPUTS[name][0]:
                    told = told.removeprefix(VIEW)
                target = told.replace('{view}', view) if view else told
                if '{view}' in target:
                    raise ValueError(
                        f'{PREFIX}{name}:={told} names {{view}}, but there are no views: '
                        f'give {PREFIX}views'
                    )
                endings = ('', '/compressed') if name.endswith('_image') else ('',)
                found += [(f'{source}{end}', f'{target}{end}') for end in endings]
        return tuple(sorted((source, target) for source, target in found if source != target))

    def _absolute(
        self, remappings: tuple[tuple[str, str], ...], view: str
    ) -> tuple[tuple[str, str], ...]:
        """Rewrite remaps for a node that lives in its view's namespace."""
        outer = join(self.base or '/', self.given.get('namespace', ''))
        found = []
        for source, target in remappings:
            whole = target if target.startswith(('/', '~')) else join(outer, target)
            inner = source.removeprefix(f'{view}/')
            if whole != join(outer, view, inner):
                found.append((inner, whole))
        return tuple(found)


def starts(name: str, given: Mapping[str, str]) -> bool:
    """Tell whether a node is started as a process of its own.

    Args:
        name: One of `NODES`.
        given: Launch argument, without prefix -> its text.

    Raises:
        ValueError: The argument says neither, or visualization is to be inside of nothing.
    """
    if name != 'visualization':
        return is_true(name, given[name])
    value = given[name].lower()
    if value not in ('true', 'false', INSIDE):
        raise ValueError(f'{PREFIX}{name}:={given[name]}, expected true, false or {INSIDE}')
    if value != INSIDE:
        return value == 'true'
    if not is_true('segmentation', given['segmentation']):
        raise ValueError(
            f'{PREFIX}visualization:={INSIDE} needs {PREFIX}segmentation:=true, inside of which '
            'it is'
        )
    return False


def is_true(name: str, value: str) -> bool:
    """Read an argument that is true or false.

    Args:
        name: Of the argument, without prefix.
        value: Its text.

    Returns:
        What it says.

    Raises:
        ValueError: It says neither.
    """
    meaning = {'true': True, 'false': False}
    if value.lower() not in meaning:
        prefix = '' if name == 'use_sim_time' else PREFIX
        raise ValueError(f'{prefix}{name}:={value}, expected true or false')
    return meaning[value.lower()]


def parameter_files(argument: str, value: str) -> tuple[str, ...]:
    """Split and check the parameter files of a node: launch would leave out what is not there.

    Args:
        argument: Name of the argument.
        value: Paths, separated by colons.

    Returns:
        The paths.

    Raises:
        ValueError: One is not a file.
    """
    files = tuple(value.split(':'))
    for each in files:
        if not Path(each).is_file():
            home = (
                f'; launch does not expand ~, write {Path.home()}/...' if each[:1] == '~' else ''
            )
            raise ValueError(f'{argument}: there is no parameter file {each!r}{home}')
    return files


def simulated_by(files: Mapping[str, tuple[str, ...]]) -> bool | None:
    """Find `use_sim_time` in parameter files: where one process is told, all are.

    Args:
        files: Of each node.

    Returns:
        What the last file that names it says; None where none does.
    """
    found: bool | None = None
    for name, paths in files.items():
        for path in paths:
            told = _read(path, name).get('use_sim_time')
            found = told if isinstance(told, bool) else found
    return found


def views_of(files: Sequence[str]) -> list[str]:
    """Read the views that parameter files of the segmentation node name.

    Args:
        files: Paths; later ones win.

    Returns:
        Their names; one empty name where no file names any.
    """
    found = ['']
    for path in files:
        told = _read(path, 'segmentation').get('views')
        found = [str(each) for each in told] if isinstance(told, list) else found
    return found


def _read(path: str, node: str) -> dict[str, object]:
    """Read the parameters of a node from a file; the node itself judges the rest of it."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    found: dict[str, object] = {}
    for key, section in content.items() if isinstance(content, dict) else ():
        held = section.get('ros__parameters') if isinstance(section, dict) else None
        if (key == '/**' or str(key).rpartition('/')[2] == node) and isinstance(held, dict):
            found |= held
    return found


def camera_topics(image: str) -> dict[str, str]:
    """Name the inputs of a camera whose image topic is known, as image_transport does.

    Args:
        image: For example `/car/front/camera/image_raw`; '' for none.

    Returns:
        Input -> topic: the images without their transport, and the `camera_info` beside them.
    """
    if not image:
        return {}
    base = image_of(image)
    space, slash, _ = base.rpartition('/')
    return {'camera_image': base, 'camera_info': f'{space}{slash}camera_info'}


def join(*parts: str) -> str:
    """Join names with slashes; an absolute one starts anew, empty ones are left out.

    Args:
        *parts: Names.

    Returns:
        The name.
    """
    joined = ''
    for part in filter(None, parts):
        joined = part if part.startswith('/') or not joined else f'{joined.rstrip("/")}/{part}'
    return joined
