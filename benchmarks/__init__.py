"""Speed and robustness on this machine; `results/` holds the figures.

Each file is a command, `python -m benchmarks.ROOM.FILE`, and says what it measures: `sensors` what
comes before a network, `networks` the networks and what runs them, `vehicle` a whole vehicle as
processes over DDS, `commands` what is waited for at the command line, `real_faults` faults that
others wrote. `result_files.save_results` writes the figures, which `tools.documentation` puts
into `docs/benchmarks.md`.
"""
