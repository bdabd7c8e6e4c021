"""Waits for the end of another process, without asking again and again where the system can tell."""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

POLL_SECONDS = 1.0


def watch_parent(pid: int, ended: Callable[[], None]) -> None:
    """Call `ended` from a thread once the process `pid` is gone, at once if it is gone already."""

    def wait() -> None:
        _wait_for_end(pid)
        ended()

    threading.Thread(target=wait, name="parent-watch", daemon=True).start()


def _wait_for_end(pid: int) -> None:
    if sys.platform == "win32":
        _wait_on_windows(pid)
    elif sys.platform == "linux":
        _wait_on_linux(pid)
    elif sys.platform == "darwin":
        _wait_on_macos(pid)
    else:
        _poll(pid)


def _wait_on_windows(pid: int) -> None:
    if sys.platform == "win32":
        import ctypes
        from ctypes import wintypes

        synchronize, infinite = 0x00100000, 0xFFFFFFFF
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.OpenProcess.restype = wintypes.HANDLE
        kernel.OpenProcess.argtypes = (wintypes.DWORD, wintypes.BOOL, wintypes.DWORD)
        kernel.WaitForSingleObject.argtypes = (wintypes.HANDLE, wintypes.DWORD)
        kernel.CloseHandle.argtypes = (wintypes.HANDLE,)
        handle = kernel.OpenProcess(synchronize, False, pid)
        if handle:
            kernel.WaitForSingleObject(handle, infinite)
            kernel.CloseHandle(handle)


def _wait_on_linux(pid: int) -> None:
    if sys.platform == "linux":
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        except (AttributeError, OSError):  # kernels before 5.3, and Pythons built for them
            _poll(pid)
            return
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll()  # ends also for a process that its own parent has not collected yet
        os.close(descriptor)


def _wait_on_macos(pid: int) -> None:
    if sys.platform == "darwin":
        queue = select.kqueue()
        event = select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
        with suppress(ProcessLookupError):
            queue.control([event], 1, None)
        queue.close()


def _poll(pid: int) -> None:
    """Our own parent has ended when we are handed to another one; others when the system says so."""
    is_ours = os.getppid() == pid
    while os.getppid() == pid if is_ours else _exists(pid):
        time.sleep(POLL_SECONDS)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
