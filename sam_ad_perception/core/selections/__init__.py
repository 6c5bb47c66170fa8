"""Masks, depth and clouds of classes that a consumer chose.

`config.SelectionConfig` are the parameters of one selection, `config.resolve` finds its classes in
a label space, and `messages.FrameSelector` makes what is published or written of a frame.
"""
