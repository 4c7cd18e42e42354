"""Prints `--torch-backend=cpu`, an option of uv, where PyTorch's CPU build is the right one and can be had.

That is where no NVIDIA GPU is found and the index of that build answers within seconds; else it prints nothing,
and PyTorch comes from the usual index. The CPU build saves several gigabytes of CUDA libraries.
"""

from __future__ import annotations

import shutil
import sys
import threading
import urllib.request
from pathlib import Path

INDEX = "https://download.pytorch.org/whl/cpu/"
SECONDS = 4.0


def has_nvidia_gpu() -> bool:
    """Tell whether the machine has an NVIDIA GPU, as far as its driver shows."""
    return shutil.which("nvidia-smi") is not None or Path("/dev/nvidia0").exists()


def is_reachable(address: str = INDEX, seconds: float = SECONDS) -> bool:
    """Tell whether the index answers in time; looking its name up counts, which no timeout of a socket does."""
    answers: list[bool] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(address, timeout=seconds) as answer:  # noqa: S310 - a constant address
                answers.append(answer.status == 200)
        except OSError:
            answers.append(False)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return answers == [True]


if __name__ == "__main__":
    if sys.platform in {"linux", "win32"} and not has_nvidia_gpu() and is_reachable():
        print("--torch-backend=cpu")  # noqa: T201 - this is its answer
