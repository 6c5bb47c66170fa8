"""The glossary of the report: its terms in one sentence each."""

from __future__ import annotations

from types import MappingProxyType

GLOSSARY = MappingProxyType(
    {
        'mask': 'the class of every pixel of the camera, as the network says it',
        'reference frame': 'the frame that a mask is made for, as a rule an image of the camera',
        'gate': 'how much each sensor weighs in the network for a frame; the weights add up to '
        '100 %',
        'outage': 'a time in which a sensor entered no mask, from the first frame without it to '
        'the first one with it again',
        'recovering': 'a sensor is good again, and is used after a few good frames in a row',
        'note': 'a sensor is used although something is not right with it',
        'bag time': 'time by the stamps of the recording; it does not depend on the machine',
        'latency': 'wall-clock time from the frames of a bundle to its mask, on the machine that '
        'made the mask',
        'mIoU': 'mean over the classes of intersection over union of mask and truth, over the '
        'pixels that have a truth',
        'unlike training': 'masks of frames that look to the network less like those of its '
        'training than 95 of 100 of them do',
        'flicker': 'pixels with another class than in the mask before, once the motion of the '
        'picture is taken out by its optical flow; of those that both frames see',
        'mTC': 'mean over pairs of frames of the mIoU of a mask and the one before, carried along '
        'the optical flow',
        'truth': 'the classes that the simulator, or a person, gave to pixels; void has none',
    }
)
