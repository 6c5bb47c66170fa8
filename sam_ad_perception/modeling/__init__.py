"""Networks that turn aligned sensor images into semantic masks, and the way to run them.

`inference.segmenter.Segmenter` is the entry: bundles in, masks out.
"""
