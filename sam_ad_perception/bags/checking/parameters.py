"""The parameter file of a recording, and the command lines that go with it."""

from __future__ import annotations

import math
from pathlib import Path
from shlex import quote
from typing import Any

import yaml

from sam_ad_perception.bags.checking.recording_check import RecordingCheck
from sam_ad_perception.bags.checking.sensor_check import SensorCheck
from sam_ad_perception.core.sensor_kinds import IMAGE
from sam_ad_perception.core.sensors import Modality, PointCloud

_COMPRESSED = '/compressed'


def write_parameters(check: RecordingCheck, calibration: str = '') -> str:
    """Write the parameter file of a recording.

    Args:
        check: What was found of it.
        calibration: File of transforms and geometry that the recording lacks; '' for none.

    Returns:
        YAML that the nodes, their launch files and `sam_ad label --params` take. It says what
        was found and leaves all else at its defaults.
    """
    inputs: dict[str, Any] = {}
    sync: dict[str, Any] = {}
    cameras = {view.camera.rectified for view in check.views.values() if view.camera is not None}
    for each in check.sensors:
        if not each.topic:
            continue
        name = str(each.modality)
        sync[name] = {'enabled': True, 'offset_s': 0.0}
        if _has_no_times(check, each):
            sync[name]['sweep_stamp'] = 'auto'
        if each.rectified is None:
            continue
        inputs[name] = {}
        if each.modality is not Modality.CAMERA or len(cameras) == 1:
            inputs[name]['rectified'] = each.rectified
        if each.modality.record.form == IMAGE:
            packed = each.topic.endswith(_COMPRESSED)
            inputs[name]['transport'] = 'compressed' if packed else 'raw'
    values: dict[str, Any] = {'calibration': calibration} if calibration else {}
    if '' not in check.views:
        values['views'] = list(check.views)
    values |= inputs
    values['bundler'] = {'sync': sync}
    sections = {'/**': {'ros__parameters': values}}
    if (reading := inputs.get('camera', {}).get('rectified')) is not None:
        sections['/**/depth_projection'] = {'ros__parameters': {'rectified': reading}}
    name = check.path.resolve().name
    told = [f'# Made by sam_ad check of {name}; what it does not name is at its default.']
    told += [f'# {line}' for line in _remarks(check)]
    return '\n'.join(told) + '\n' + yaml.safe_dump(sections, sort_keys=False, allow_unicode=True)


def topic_options(check: RecordingCheck) -> list[str]:
    """Say which topic is which sensor: options of `sam_ad label`, `replay` and `offsets`.

    Cameras with names of views are given by `--view`.
    """
    options = []
    named = '' not in check.views
    if named:
        options += [
            f'--view {view.name}:={view.camera.topic}'
            for view in check.views.values()
            if view.camera is not None
        ]
    for each in check.sensors:
        if named and each.modality is Modality.CAMERA:
            continue
        if each.topic:
            options.append(f'--topic {each.modality}:={each.topic}')
        if each.info:
            options.append(f'--topic {each.modality}_info:={each.info}')
    return options


def label_command(check: RecordingCheck, params: Path | None) -> str:
    """The command line of `sam_ad label` for this recording."""
    given = f' --params {quote(str(params))}' if params is not None else ''
    lines = [f'sam_ad label {quote(str(check.path))} --out DIR{given}', *topic_options(check)]
    return ' \\\n  '.join(lines)


def _has_no_times(check: RecordingCheck, each: SensorCheck) -> bool:
    """Whether a sweep's points carry no times, so that a parameter says what its stamp is."""
    frame = check.example.frames.get(each.modality) if check.example else None
    data = frame.data if frame else None
    return isinstance(data, PointCloud) and data.time_offset_ns is None


def _remarks(check: RecordingCheck) -> list[str]:
    """What somebody should know who edits the file."""
    lines = [
        f'{each.modality}: stamps are {1e3 * each.timing.delay_s:.0f} ms old on arrival, '
        f'{1e3 * each.clock_s:+.0f} ms against the camera if both took equally long; '
        'sam_ad offsets measures offset_s'
        for each in check.sensors
        if each.timing is not None and math.isfinite(each.clock_s) and each.clock_s
    ]
    if '' not in check.views:
        readings = {
            name: 'rectified' if view.camera.rectified else 'raw'
            for name, view in check.views.items()
            if view.camera is not None
        }
        told = ', '.join(f'{name} ({reading})' for name, reading in readings.items())
        lines.append(f'cameras: {told}')
        if len(set(readings.values())) > 1:
            lines.append('camera.rectified stays at auto: each view is judged by its own images')
    lines += [' '.join(f.sentence.split()) for f in check.findings if f.out]
    return lines
