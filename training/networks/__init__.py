"""The network that a run trains, small published baselines, checkpoints, frozen features.

`start.build_network` makes it, `checkpoint.save_run` and `checkpoint.load_run` keep it.
"""
