"""What stands in the messages of a recording: their types and definitions, and video packets.

Enter at `type_store` for the definitions that messages are read with, `message_types` for the
types that sensors send, and `video` for pictures that come as H.264, H.265 or AV1.
"""
