"""`sam_ad doctor`: findings, checks of the machine, checks of the live topics.

`command.main` is the entry; no other package imports it.
"""
