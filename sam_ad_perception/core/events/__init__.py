"""Event cameras: byte formats, packets, decoding, encoding, window buffer, event images.

`decoding.EventDecoder` makes events of `packets.EventPacket`, `buffer.EventBuffer` keeps the last
of them; `representations` draws them (counts, voxel grid, time surface); `encoding.encode_packet`
is the way back.
"""
