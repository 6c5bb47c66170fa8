"""One drive from its configuration to measurements, arrivals, recording, pictures.

`drive.Drive` made of a `configuration.DriveConfig` is the entry; `recording.record` writes it as a
bag, `sample_frames.sample_frames` gives frames to train on.
"""
