"""What was measured, for people: tables on the console, plots, and the HTML page.

Enter at `tables` for rows of text and `page` for the whole page; `plots` draws it, and
`published` has the figures that papers printed.
"""
