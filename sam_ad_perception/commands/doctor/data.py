"""What `sam_ad doctor` says of the data itself: the plausibility pass of the segmentation node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rclpy.node import Node

from sam_ad_perception.commands.doctor.findings import FAIL, WARN, Finding
from sam_ad_perception.core.findings import Finding as DataFinding
from sam_ad_perception.core.geometry.calibration import Calibration
from sam_ad_perception.core.geometry.transform_tree import TransformTree
from sam_ad_perception.core.images.lazy_image import decode_lazy
from sam_ad_perception.core.sensors import Modality, SensorBundle
from sam_ad_perception.core.synchronization.bundler import BundleResult
from sam_ad_perception.nodes.inputs.clouds import CloudInput
from sam_ad_perception.nodes.inputs.sensors import SensorInputs
from sam_ad_perception.nodes.ros.configuration import SegmentationConfig
from sam_ad_perception.nodes.ros.rclpy_helpers import TransformInput, sensor_qos


class DataCheck:
    """Takes what the segmentation node takes, and looks at it as that does.

    Args:
        node: Its executor runs the callbacks.
    """

    def __init__(self, node: Node) -> None:
        config = SegmentationConfig()
        self._transforms = TransformInput(node, TransformTree())
        self._inputs = SensorInputs(
            node,
            config,
            Calibration(),
            self._transforms,
            CloudInput(node, sensor_qos(config.qos)),
            self._take,
        )
        self._inputs.start()

    @property
    def clocks(self) -> Mapping[Modality, DataFinding]:
        """The clocks that cannot be right."""
        return self._inputs.checks.clock_findings

    def findings(self) -> Iterator[Finding]:
        """Tell what cannot be right about each sensor's data.

        Yields:
            One finding for each: FAIL where the node does not use the sensor for it.
        """
        self._inputs.checks.readings.finish()
        for each in self._inputs.checks.findings():
            found = each.finding
            yield Finding(found.sensor, FAIL if found.out else WARN, found.text, found.remedy)

    def stop(self) -> None:
        """Listen no more."""
        self._take(self._inputs.bundler.flush())
        self._inputs.destroy()
        self._transforms.destroy()

    def _take(self, results: Sequence[BundleResult]) -> None:
        checks = self._inputs.checks
        if results:
            bundler = self._inputs.bundler
            checks.count_events(bundler.counters, bundler.event_size)
        for each in results:
            if isinstance(each, SensorBundle):
                checks.check_bundle(decode_lazy(each))
