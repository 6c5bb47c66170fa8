"""A sensor, a network and a dataset beside those of sam_ad_perception."""
