"""Pictures and drawings on the pages: charts, overlays, point clouds, and their colours.

Enter at `chart` for SVG diagrams, `pictures` for sensor images with masks over them, and
`point_view` for clouds seen from above; `palette` has the colours of both.
"""
