"""The brief check at the start of `sam_ad label`: what `sam_ad check` finds, in a few lines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from sam_ad_perception.bags.camera_views import CameraViews
    from sam_ad_perception.bags.labelling.view_run import LabelOptions

TIME_S = 1.0
"""So long bundles are read; `sam_ad check` takes its time."""


def print_brief_check(
    console: Console, bag: Path, views: CameraViews, options: LabelOptions
) -> None:
    """Tell what is wrong with a recording before it is labelled.

    Doubts about the choice of topics are told where the choice is printed.

    Args:
        console: Where it is told.
        bag: The recording.
        views: Its cameras.
        options: How it will be labelled.
    """
    from sam_ad_perception.bags.bundles import BundleOptions
    from sam_ad_perception.bags.checking.recording_check import check_recording
    from sam_ad_perception.commands.check import list_findings
    from sam_ad_perception.commands.doctor.findings import make_row

    check = check_recording(
        bag,
        options=BundleOptions(
            options.bundler, options.calibration, options.own_centre, options.plausibility
        ),
        views=views,
        time_s=TIME_S,
    )
    doubts = set(check.doubts)
    findings = [
        each for each in list_findings(check) if not any(each.text.endswith(d) for d in doubts)
    ]
    for finding in findings:
        console.print(make_row(finding))
    told = f'{len(findings)} to look at' if findings else 'nothing is wrong with what was read'
    console.print(
        f'check: {check.read_s:.1f} of {check.duration_s:.1f} s looked through, {told}; '
        f'more by sam_ad check {bag}',
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
