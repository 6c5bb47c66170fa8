"""Networks that turn aligned sensor images into semantic masks, and the way to run them."""

import os

# Threads of torch that spin while they wait take the cores from the nodes beside: on two cores
# that were busy, a frame cost 1560 ms of processor time instead of 360. libgomp reads this once,
# when torch loads it.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')
