"""The life of a node's process: prepare, spin, and leave quietly on SIGINT and SIGTERM."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from sam_ad_perception.modeling.openmp import wait_passively
from sam_ad_perception.nodes.ros.environment import prepare_environment

# Of glibc's malloc.h: where blocks of any size come from, and when they go back to the system.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_TRIM_BYTES, _MMAP_BYTES = 2**29, 2**25


def keep_memory() -> None:
    """Let the process use the memory of one message again for the next.

    Without this, glibc gives every large block back to the system and gets it anew, empty: the
    pages of a 1080p image cost more than the image. One arena for all threads, because messages
    are made by one and freed by another. Nothing happens where the C library is another.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is None:
        return
    mallopt(_M_ARENA_MAX, 1)
    mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)


def raise_on_signals(is_spinning: Callable[[], bool] = lambda: False) -> None:
    """Let the first SIGINT or SIGTERM raise KeyboardInterrupt; ROS's handlers call these, too.

    Args:
        is_spinning: Whether an executor spins, which ROS's own handler ends. Raised amid its
            counting of handles in use, an exception would leave one in use for ever, and with it
            the participant and its shared memory.
    """

    def interrupt(number: int, frame: Any) -> None:
        # `ros2 launch` passes Ctrl-C on, so that it arrives twice: once is enough.
        _ignore_signals()
        if not is_spinning():
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def run_node(make: Callable[[], Node], args: Sequence[str] | None = None) -> int:
    """Run one node until it is told to end.

    Args:
        make: Makes the node; called after `rclpy.init`. What it raises as ValueError or OSError
            is a wrong parameter: one line for the user, exit code 1.
        args: Command line; the process's own by default.

    Returns:
        The exit code: 0 after SIGINT, SIGTERM or a shutdown of ROS.
    """
    code = 0
    node: Node | None = None
    initialized = spinning = False
    try:
        raise_on_signals(lambda: spinning)
        prepare_environment()
        wait_passively()
        keep_memory()
        rclpy.init(args=None if args is None else [sys.argv[0], *args])
        initialized = True
        node = make()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        spinning = True
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (ValueError, OSError) as err:
        if not initialized or (node is not None and rclpy.ok()):
            raise
        if node is None:
            print(f'{sys.argv[0]}: {err}', file=sys.stderr)
            code = 1
    except Exception:
        # A signal shuts ROS down under a callback that is running: what it raises then is noise.
        if not initialized or rclpy.ok():
            raise
    finally:
        _ignore_signals()
        ended = _close(node)
    if not ended:
        # The worker is inside a native call (loading, inference). Python's own teardown would
        # pull the libraries from under it; leaving at once is clean for everybody else.
        leave(code)
    return code


def leave(code: int) -> NoReturn:
    """End the process at once, without taking down the interpreter; ROS must be closed.

    Args:
        code: The exit code.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _close(node: Node | None) -> bool:
    """Close the node and ROS; False where a thread of the node is stuck."""
    ended = True
    if node is not None:
        close = getattr(node, 'close', None)
        ended = close is None or bool(close())
        node.destroy_node()
    rclpy.try_shutdown()
    return ended
