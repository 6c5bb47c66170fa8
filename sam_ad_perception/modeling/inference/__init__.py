"""Bundles in, masks out: the segmenter, one loaded network, logits to masks.

`segmenter.Segmenter` is the entry; the others use it and, for measuring alone,
`expert_network.ExpertNetwork`.
"""
