"""Frames of several sensors grouped around one reference frame, and made into bundles.

`bundler.Bundler` is the entry: sensor frames in, `SensorBundle` out. `synchronizer.Synchronizer`
groups stamps of anything; `config` has the parameters of both.
"""
