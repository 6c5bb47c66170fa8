"""The image that a network sees of each sensor; a whole bundle prepared on host or GPU.

`preparation.prepare_bundle` is the entry; `representations.REPRESENTATIONS` lists the forms of a
sensor by the names of the zoo, and `forms` holds what they share: a new one that is warped into
the view is a `forms.WarpedForm` with a `draw`.
"""
