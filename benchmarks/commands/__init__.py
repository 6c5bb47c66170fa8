"""What is waited for at the command line: labelling, simulating, starting, loading to train.

`labelling` labels recordings, `simulation` writes them, `startup` starts nodes and commands,
`data_loading` reads frames as a training run does.
"""
