"""Freed memory is kept."""

import platform
import subprocess
import sys

from audiogen.memory import keep_freed

CODE = """
import resource, sys
import torch
from audiogen.memory import keep_freed

if sys.argv[1] == "kept":
    keep_freed()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

for _ in range(3):
    torch.ones(1 << 23), torch.ones(1 << 20)
before = faults()
for _ in range(30):
    torch.ones(1 << 23), torch.ones(1 << 20)
print(faults() - before)
"""


def faults(how: str) -> int:
    """Page faults of thirty tensors of 32 MiB and of 4 MiB, each freed before the next."""
    done = subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_large_tensors_take_the_place_of_freed_ones() -> None:
    if platform.libc_ver()[0] != "glibc":
        assert not keep_freed()
        return
    assert faults("kept") < faults("given back") / 3
