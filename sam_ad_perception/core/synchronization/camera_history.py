"""The camera_infos of one sensor over time, and which of them describes an image."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace

from sam_ad_perception.core.geometry.lens import (
    fit_to_image,
    is_same,
    jump_between,
    lens_problem,
    without_lens,
)
from sam_ad_perception.core.sensors import CameraModel

MOST_INFOS = 4096
"""Live: two minutes at 30 Hz. Equal ones share one model."""
_MOST_DERIVED = 64
_MOST_TRIED = 100


@dataclass(frozen=True, eq=False)
class CameraChoice:
    """The geometry of one image.

    Attributes:
        camera: The model; `unknown_lens` says why nothing can be projected.
        note: What is to be told about it, in words; empty for nothing.
    """

    camera: CameraModel
    note: str = ''


class CameraHistory:
    """Pairs the images of a sensor with its camera_infos.

    An image takes the info of its own stamp, else the last one before it; one that comes later
    describes another frame (a zoom), unless all that came are equal. Info that leaps from its
    neighbours, or contradicts the size of its image, is left out alone.

    Args:
        bounded: Whether only the newest `MOST_INFOS` are kept.
    """

    def __init__(self, *, bounded: bool = True) -> None:
        self._bounded = bounded
        self._configured: CameraModel | None = None
        self.forget()

    def forget(self) -> None:
        """Forget all infos; a configured one stays."""
        self._stamps: list[int] = []
        self._models: list[CameraModel] = []
        self._jumps: list[str] | None = []
        self._varies = False
        self._paired = self._confirmed = False
        self._derived: dict[tuple[object, ...], tuple[CameraModel, CameraModel]] = {}

    def add(self, camera: CameraModel, stamp_ns: int | None = None) -> None:
        """Take a camera_info.

        Args:
            camera: What it says.
            stamp_ns: Its stamp, nanoseconds; None or 0 for one that holds for all times, such as
                a configured one: it is used where no other fits.
        """
        if not stamp_ns:
            self._configured = camera
            return
        at = bisect_left(self._stamps, stamp_ns)
        for near in self._models[max(at - 1, 0) : at + 1]:
            if is_same(near, camera):
                camera = near
        if at < len(self._stamps) and self._stamps[at] == stamp_ns:
            if self._models[at] is camera:
                return
            self._models[at], self._jumps = camera, None
        else:
            in_order = at == len(self._stamps)
            self._stamps.insert(at, stamp_ns)
            self._models.insert(at, camera)
            if in_order and self._jumps is not None:
                self._jumps.append(self._judge(at))
            else:
                self._jumps = None
        self._varies = self._varies or camera is not self._models[0]
        if self._bounded and len(self._stamps) > MOST_INFOS:
            half = MOST_INFOS // 2
            del self._stamps[:half], self._models[:half]
            self._jumps = None

    def awaits(self, stamp_ns: int) -> bool:
        """Tell whether the info of an image is still on its way.

        Args:
            stamp_ns: Stamp of the image, nanoseconds.

        Returns:
            Whether its own info did not come, no later one did, and it would matter.
        """
        if not self._varies or not self._paired or not self._stamps:
            return False
        return self._stamps[-1] < stamp_ns

    def choose(
        self, stamp_ns: int, size: tuple[int, int] | None = None, frame_id: str = ''
    ) -> CameraChoice | None:
        """Find the geometry of an image.

        Args:
            stamp_ns: Its stamp, nanoseconds, on the clock that stamps the infos.
            size: Its `(H, W)`, pixels; None where it is not known.
            frame_id: Its frame, taken where the info names none.

        Returns:
            The geometry, of another size than the image where that one is to blame (others
            fitted, or it is configured); None where no info came at all, or only later ones that
            differ.
        """
        found = self._find(stamp_ns, size)
        if found is None:
            return None
        camera, note = found.camera, found.note
        if not camera.frame_id and frame_id:
            key = ('frame', id(camera), frame_id)
            camera = self._derive(key, camera, replace(camera, frame_id=frame_id))
        if not camera.unknown_lens and (why := lens_problem(camera)):
            key = ('lens', id(camera), why)
            camera = self._derive(key, camera, without_lens(camera, why))
        return CameraChoice(camera, note)

    def _find(self, stamp_ns: int, size: tuple[int, int] | None) -> CameraChoice | None:
        """The info of the image, in the order of trust."""
        refused = ''
        unknown: CameraModel | None = None
        for camera, at, jump in self._before(stamp_ns):
            exact = self._stamps[at] == stamp_ns
            if exact:
                self._paired = True
            fault = jump or _size_fault(camera, size)
            if fault:
                refused = refused or (f'its camera_info is left out: {fault}' if exact else '')
                continue
            self._confirmed = self._confirmed or size is not None
            if camera.unknown_lens:
                unknown = camera
                break
            return CameraChoice(camera, self._tell(stamp_ns, at, refused))
        configured = self._configured
        if configured is not None and not _size_fault(configured, size):
            return CameraChoice(configured, refused)
        if unknown is not None:
            return CameraChoice(unknown, refused)
        if self._models and not self._varies and not _size_fault(self._models[0], size):
            return CameraChoice(self._models[0], refused)
        return self._resized(stamp_ns, size)

    def _before(self, stamp_ns: int) -> Iterator[tuple[CameraModel, int, str]]:
        """Infos that are not later than a time, the newest first, each with how it leaps."""
        if self._jumps is None:
            self._jumps = []
            for at in range(len(self._models)):
                self._jumps.append(self._judge(at))
        newest = bisect_right(self._stamps, stamp_ns) - 1
        for at in range(newest, max(newest - _MOST_TRIED, -1), -1):
            yield self._models[at], at, self._jumps[at]

    def _judge(self, at: int) -> str:
        """How an info leaps from the last that did not; a second of its kind is no leap."""
        assert self._jumps is not None
        trusted = at - 1
        while trusted >= 0 and self._jumps[trusted]:
            trusted -= 1
        if trusted < 0:
            return ''
        jump = jump_between(self._models[trusted], self._models[at])
        if jump and trusted < at - 1 and not jump_between(self._models[at - 1], self._models[at]):
            return ''
        return jump

    def _tell(self, stamp_ns: int, at: int, refused: str) -> str:
        """What is to be told of an info that is not the image's own."""
        age_ns = stamp_ns - self._stamps[at]
        if refused:
            return f'{refused}; that of {age_ns / 1e6:.1f} ms before is used'
        if not age_ns or not self._varies:
            return ''
        return f'no camera_info has its stamp, that of {age_ns / 1e6:.1f} ms before is used'

    def _resized(self, stamp_ns: int, size: tuple[int, int] | None) -> CameraChoice | None:
        """A camera of another size than the image: scaled where the aspect is the same."""
        known = [c for c, _, _ in self._before(stamp_ns)][:1]
        known += [] if self._varies else self._models[:1]
        known += [self._configured] if self._configured is not None else []
        if not known or size is None:
            return None
        height, width = size
        for camera in known:
            if camera.unknown_lens:
                continue
            key = ('size', id(camera), size)
            fitted = self._derived[key][1] if key in self._derived else fit_to_image(camera, size)
            if fitted is not None:
                note = (
                    f'its camera_info is of {camera.width}x{camera.height} pixels, its image of '
                    f'{width}x{height}: K is scaled'
                )
                return CameraChoice(self._derive(key, camera, fitted), note)
        camera = known[0]
        if self._confirmed or camera is self._configured:
            return CameraChoice(camera)  # it is the image that is wrong
        fault = (
            f'its image is {width}x{height} pixels, its camera_info says '
            f'{camera.width}x{camera.height}, which is of another aspect'
        )
        why = camera.unknown_lens or fault
        blind = replace(camera, width=width, height=height, unknown_lens=why)
        return CameraChoice(self._derive(('blind', id(camera), size), camera, blind), fault)

    def _derive(
        self, key: tuple[object, ...], camera: CameraModel, derived: CameraModel
    ) -> CameraModel:
        """Give the same object for the same model: what is computed from it is cached by it."""
        if key not in self._derived:
            if len(self._derived) >= _MOST_DERIVED:
                self._derived.clear()
            self._derived[key] = (camera, derived)  # the first keeps its id from being reused
        return self._derived[key][1]


def _size_fault(camera: CameraModel, size: tuple[int, int] | None) -> str:
    """How a camera_info contradicts the size of an image; empty where it does not."""
    if size is None or camera.size == size:
        return ''
    return f'it says {camera.width}x{camera.height} pixels, its image is {size[1]}x{size[0]}'
