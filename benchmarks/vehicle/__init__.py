"""A whole vehicle as real processes over DDS.

`load`, `faults` and `overhead` measure; `processes.Vehicle` starts the processes, which publish
what `content.render_content` rendered.
"""
