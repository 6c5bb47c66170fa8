"""A whole vehicle as real processes over DDS."""
