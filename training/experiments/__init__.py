"""Experiments of several runs by one recipe, held side by side.

`runner.run_variants` trains the variants of an experiment one after the other and goes on where it
was cut off. `comparison` varies the network, `data_efficiency` the number of frames; `ablation`
measures runs that differ in one setting. Each is a command, `python -m training.experiments.NAME`.
"""
