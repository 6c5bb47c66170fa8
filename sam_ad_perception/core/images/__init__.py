"""Images: thermal scaling, alignment into the camera view, resizing, lazy decoding, drawing.

`alignment` and `thermal` prepare images for networks, `lazy_image.decode_lazy` reads what was left
undecoded, `rendering` draws masks, depth and events for people.
"""
