"""Files of a recording, MCAP and SQLite, read as far as they hold whole messages.

For `bags.reader` only: `folder.find_files` and `folder.open_file` give a `records.Container`.
"""
