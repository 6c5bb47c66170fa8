"""Daylight of a seed, named light and weather conditions, fog, falling rain and snow.

`conditions.CONDITIONS` names them; `atmosphere` puts them into images.
"""
