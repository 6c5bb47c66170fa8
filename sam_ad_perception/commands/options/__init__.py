"""Options that several commands share: how they are read, and refused before anything is opened.

`topics` says which topic is which sensor, `model` which network runs on what, `simulation` what is
driven, `labelling` what `sam_ad label` does.
"""
