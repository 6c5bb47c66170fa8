"""Masks of a labelled recording out to annotation tools, and corrected ones back as its truth.

`export.export_labels` writes what `picks.pick_frames` chose, `corrections.import_labels` reads
what came back. `formats.FORMATS` is the table of formats, one file each; `exchange.MaskFormat` is
what a format is.
"""
