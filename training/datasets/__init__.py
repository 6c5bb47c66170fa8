"""Data sets: one file each, one item type."""
