"""The last seconds of all inputs in memory, and recordings of them when something happens.

`recorder.BlackBox` takes messages and triggers; it is made of a `ring.MessageRing`, of
`episodes.EpisodeFolder`, and of what counts as a trigger, `triggers.TriggerRules`.
"""
