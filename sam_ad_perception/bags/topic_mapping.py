"""Which topic of a recording is read as which sensor, and what became of the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sam_ad_perception.bags.topic_roles import form_of_type
from sam_ad_perception.bags.topic_samples import TopicSample
from sam_ad_perception.core.console.suggestions import did_you_mean
from sam_ad_perception.core.findings import Finding
from sam_ad_perception.core.sensors import Modality


def info_roles() -> dict[str, Modality]:
    """The role of each sensor's geometry: `camera_info` and the like."""
    return {f'{m}_info': m for m in Modality if m.info_topic}


def roles() -> list[str]:
    """What `--topic ROLE:=NAME` may name."""
    return [*(m.value for m in Modality), *info_roles(), 'tf', 'tf_static', 'odometry']


def read_role(text: str) -> tuple[str, str]:
    """Read what `--topic` was given.

    Args:
        text: `ROLE:=NAME`, or `ROLE:=` to leave a role out.

    Returns:
        Role and topic.

    Raises:
        ValueError: It is none, or there is no such role.
    """
    role, given, name = text.partition(':=')
    if not given:
        raise ValueError(f'expected ROLE:=NAME, got {text!r}')
    if role not in roles():
        raise ValueError(
            f'unknown role {role!r}, expected one of {roles()}{did_you_mean(role, roles())}'
        )
    return role, name


@dataclass(frozen=True)
class SensorTopics:
    """Where one sensor is recorded.

    Attributes:
        data: Topic of its measurements; '' where only its CameraInfo is there.
        info: Topic of its CameraInfo; '' for none.
        rectified: Whether the image is rectified: then `CameraInfo.P` holds, else K and D.
        reading: What tells whether it is, where that was looked at.
        doubt: A sentence, where its images do not tell.
        finding: What its name contradicts, or None.
    """

    data: str
    info: str = ''
    rectified: bool = False
    reading: str = ''
    doubt: str = ''
    finding: Finding | None = None


@dataclass(frozen=True)
class Candidate:
    """A topic of the recording that looks like a sensor's, and what became of it.

    Attributes:
        name: Topic name.
        type: Its type.
        count: Number of its messages.
        role: The sensor that it may be; None where it is none that is read.
        chosen: Whether it is read as that sensor.
        reason: Why it is none, or why it ranks behind others; '' for a plain one.
        doubt: Whether somebody should look, for another choice is possible.
        sample: What a message of it tells; None where none was read.
        other: The sensor that it may be instead of `role`; None for no other.
    """

    name: str
    type: str
    count: int
    role: Modality | None
    chosen: bool
    reason: str = ''
    doubt: bool = False
    sample: TopicSample | None = None
    other: Modality | None = None


@dataclass(frozen=True)
class TopicMapping:
    """Which topics are read, and as what.

    Attributes:
        sensors: The sensors found.
        tf: Topics of moving transforms.
        tf_static: Topics of fixed transforms.
        odometry: Topic that tells the vehicle's twist; '' for none.
        passed_over: For each sensor, other topics that would have fitted, best first.
        foreign_tf: Topics of transforms of other namespaces than the sensors'.
        candidates: Every topic that looks like a sensor's, the best of each sensor first, then
            those that are none.
    """

    sensors: Mapping[Modality, SensorTopics]
    tf: tuple[str, ...] = ()
    tf_static: tuple[str, ...] = ()
    odometry: str = ''
    passed_over: Mapping[Modality, tuple[str, ...]] = field(default_factory=dict)
    foreign_tf: tuple[str, ...] = ()
    candidates: tuple[Candidate, ...] = ()

    @property
    def sensor_names(self) -> tuple[str, ...]:
        """Topics of the sensors and of their geometry."""
        return tuple(name for s in self.sensors.values() for name in (s.data, s.info) if name)

    @property
    def names(self) -> tuple[str, ...]:
        """Every topic that is read."""
        used = self.sensor_names
        return (*used, *self.tf, *self.tf_static, *filter(None, [self.odometry]))

    def reason_for_none(self, modality: Modality) -> str:
        """Say why a sensor is not read although something like it was recorded; '' for nothing."""
        data = modality in self.sensors and self.sensors[modality].data
        if data:
            return ''
        wanted = modality.record.form
        told = [
            f'{c.name}: {c.reason}'
            for c in self.candidates
            if c.reason
            and (c.role is modality or (c.role is None and form_of_type(c.type) == wanted))
        ]
        return '; '.join(told)

    def left_out(self) -> list[tuple[str, str, str]]:
        """Topics that look like a sensor's and are not read: name, messages, and why."""
        rows = []
        for each in self.candidates:
            if each.chosen:
                continue
            reason = each.reason
            if each.role is not None:
                better = self.sensors[each.role].data if each.role in self.sensors else ''
                behind = f'{each.role} is {better}' if better else f'{each.role} is switched off'
                reason = f'{behind}; {reason}' if reason else behind
                if each.doubt:
                    reason += f' (--topic {each.other or each.role}:={each.name} takes it)'
            rows.append((each.name, str(each.count), reason))
        return rows

    def doubts(self) -> list[str]:
        """What was chosen although another choice is possible, one sentence each."""
        told = [
            f'{c.name} is taken as {c.role}: {c.reason} (--topic {c.role}:= leaves it out)'
            for c in self.candidates
            if c.chosen and c.doubt
        ]
        for modality, topics in self.sensors.items():
            if topics.finding is not None:
                told.append(f'{modality}: {topics.finding.sentence}')
            elif topics.doubt:
                told.append(f'{topics.doubt} (--rectified {modality}:=true or false tells)')
        return told

    def rows(self) -> list[tuple[str, str, str]]:
        """The mapping for a reader: role, topic, and a remark, one row for each topic."""
        rows = []
        for modality, topics in self.sensors.items():
            rectified = 'rectified' if topics.rectified else 'raw'
            kind = rectified if modality.info_topic else ''
            kind += f' ({topics.reading})' if topics.reading else ''
            other = ', '.join(self.passed_over.get(modality, ()))
            remark = '; '.join(filter(None, (kind, other and f'not taken: {other}')))
            if topics.data:
                rows.append((modality.value, topics.data, remark))
            if topics.info:
                rows.append((f'{modality}_info', topics.info, ''))
        for role, taken in (('tf', self.tf), ('tf_static', self.tf_static)):
            other = ', '.join(name for name in self.foreign_tf if name.split('/')[-1] == role)
            remark = f'not taken: {other}' if other else ''
            rows += [(role, name, '' if i else remark) for i, name in enumerate(taken)]
        rows += [('odometry', self.odometry, '')] if self.odometry else []
        return rows
