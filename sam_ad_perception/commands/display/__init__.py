"""What commands show: `tables` at any width, `progress` on a terminal and in a log file.

`labelling` shows what `sam_ad label` does and did.
"""
