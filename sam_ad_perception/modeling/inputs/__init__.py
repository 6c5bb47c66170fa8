"""The image that a network sees of each sensor; a whole bundle prepared on host or GPU.

`preparation.prepare_bundle` is the entry; `representations.REPRESENTATIONS` lists the forms of a
sensor by the names of the zoo.
"""
