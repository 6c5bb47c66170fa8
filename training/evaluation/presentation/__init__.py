"""What was measured, for people: tables on the console, plots, and the HTML page.

Enter at `tables` for rows of text and `page` for the whole page; `plots` draws it, `failures` has
missing and noisy sensors, and `published` has the figures that papers printed.
"""
