"""What stands and moves in the street, and where.

`scene.Scene` is the street of a seed at any time; the others build it.
"""
