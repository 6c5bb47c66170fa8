"""`sam_ad ...`: one file per command.

`cli.main` is the entry; it imports a command when it is called.
"""
