"""What each sensor measures of the street, and the rig that carries them.

`rig.load_rig` and `rig.default_rig` say which sensors; `simulation.drives` calls the measuring.
"""
