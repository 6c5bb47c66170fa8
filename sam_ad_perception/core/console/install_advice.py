"""Names of the packages to install for optional features."""

from __future__ import annotations

import shlex

EXTRAS = {
    'training': ('lightning>=2.6.4', 'pillow>=10'),
    'fleet': ('ray>=2.40',),
    'video': ('av>=12',),
    'rerun': ('rerun-sdk>=0.30',),
    'openvino': ('openvino>=2025.0', 'onnx>=1.17', 'onnxscript>=0.5'),
    'export': ('onnx>=1.17', 'onnxscript>=0.5', 'onnxruntime>=1.20'),
}
"""Optional part -> what it needs; the same as the extras of setup.py."""


def install_advice(extra: str) -> str:
    """Word the command that installs what a part needs.

    The package itself is on no index, so that its extras can be named only in a checkout.

    Args:
        extra: A key of `EXTRAS`.

    Returns:
        A command line.
    """
    return shlex.join(['pip', 'install', *EXTRAS[extra]])
