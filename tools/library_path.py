"""Starts the interpreter once more with the virtual environment's libraries in its path.

Copied into an environment that lies over a ROS installation, and run at interpreter start. The
message packages built into the environment are loaded by name, and the loader reads
LD_LIBRARY_PATH only when a process starts.
"""

import os
import sys

_library_folder = os.path.join(sys.prefix, 'lib')
if _library_folder not in os.environ.get('LD_LIBRARY_PATH', '').split(os.pathsep):
    for _name, _folder in (
        ('LD_LIBRARY_PATH', _library_folder),
        ('AMENT_PREFIX_PATH', sys.prefix),
    ):
        _rest = os.environ.get(_name)
        os.environ[_name] = os.pathsep.join([_folder, _rest] if _rest else [_folder])
    os.execv(sys.executable, sys.orig_argv)
