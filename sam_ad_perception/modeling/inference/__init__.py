"""Bundles in, masks out: the segmenter, one loaded network, logits to masks.

`segmenter.Segmenter` is the entry; `loading` finds and loads its networks, `view_states` remembers
what ran for each camera, `expert_network.ExpertNetwork` is one network, for measuring alone, and
`familiarity.Familiarity` tells frames that are unlike those of its training.
"""
