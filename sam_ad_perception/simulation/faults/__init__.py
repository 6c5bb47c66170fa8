"""What goes wrong with sensors: kinds and schedule, and what they do to the data.

`effects.parse_fault` reads one from a command line, `effects.corrupt` applies it.
"""
