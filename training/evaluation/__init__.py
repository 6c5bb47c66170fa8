"""How good networks are: what is measured on what, figures, tables, page.

`measurement` measures, `systems` are what is measured, `tables` and `page` show it.
"""
