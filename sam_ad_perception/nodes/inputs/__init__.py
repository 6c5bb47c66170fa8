"""Subscriptions: images, clouds, events, all sensors of a view, delayed messages.

`sensors.SensorInputs` feeds a bundler from all topics of a view; nodes with one sensor use
`images.ImageInput`, `clouds.CloudInput` or `history.History`.
"""
