"""What a labelled frame is, folders of image files, their index, and a look at them.

`frame.LabelledFrame` is the item of every data set, `image_folders.DatasetLayout` a published one
with its `benchmark_protocol.BenchmarkProtocol`.
"""
