"""Data of one's own: folders, recordings with labels, and simulated drives.

Enter at `folders` for pictures and masks in folders, which `data_file` tells of, and at
`recordings` for bags; `recorded_labels` reads the truth beside a bag, `simulated` makes drives
with it.
"""
