"""Data sets: one file each, one item type.

`catalog.open_dataset` opens a split by the name of its data set; all give
`frames.frame.LabelledFrame`.
"""
