"""The segmentation networks: MLE-SAM, AD-SAM, FusionSAM, and the layers of their own.

Others build them by `registry.NETWORKS` (see `modeling.zoo.entries.build_model`) and know them as
`modeling.network.SegmentationNetwork`.
"""
