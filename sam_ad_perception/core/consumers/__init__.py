"""Forms that single consumers want, where a remap of our topics does not do.

`autoware.encode_mask` writes masks run-length encoded in Autoware's classes, `channels` clouds
with one number for each selection, `label_files.write_labels` what tools read classes from.
"""
