"""Runs a node without its executable: `python -m sam_ad_perception.nodes segmentation_node`."""

import sys

from sam_ad_perception.nodes.start import NODES, run

if __name__ == '__main__':
    if len(sys.argv) < 2 or sys.argv[1] not in NODES:
        sys.exit(f'usage: python -m sam_ad_perception.nodes {{{",".join(NODES)}}} [arguments]')
    name = sys.argv.pop(1)
    sys.argv[0] = name
    sys.exit(run(name))
