"""Offline scripts that train and measure the networks; run from the repository root."""
