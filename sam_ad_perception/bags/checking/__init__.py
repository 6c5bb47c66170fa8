"""Look at a recording before it is labelled: what is there, whether it fits, what is wrong.

`recording_check.check_recording` does so, `parameters` writes what follows from it.
"""
