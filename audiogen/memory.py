"""Memory that a process has freed, kept for its next tensors."""

from __future__ import annotations

import contextlib
import ctypes
import platform

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of <malloc.h>
MOST = 1 << 30  # bytes


def keep_freed() -> bool:
    """Have the C library keep up to 1 GiB of freed memory -> whether it will.

    By itself glibc gives large tensors back to the system as soon as they are freed, and the next ones cost a
    page fault for every 4 KiB: up to a third of the time of training on a CPU. The peak of memory stays what
    it was. This is for a whole process, so it is commands that call it, not functions. Elsewhere than with
    glibc nothing happens.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        return bool(mallopt(MMAP_THRESHOLD, MOST) and mallopt(TRIM_THRESHOLD, MOST))
    return False
