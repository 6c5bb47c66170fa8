"""The tests; a package, so that `test.pictures` is ours and not Python's own under any pytest."""
