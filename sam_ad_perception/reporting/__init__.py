"""The HTML report: what the sensors saw, what was used, how good and how fast the masks were.

`drive_page.write_drive_page` is the entry.
"""
