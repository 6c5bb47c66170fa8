"""Speed and robustness on this machine; `results/` holds the figures."""
