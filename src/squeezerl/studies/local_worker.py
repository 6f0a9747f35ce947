"""The process of a local worker: `python -m squeezerl.studies.local_worker PARENT < assignment`.

On standard input comes its assignment, and later a byte that asks it to stop. When the input ends,
the parent has ended, and so does this.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import pickle
import platform
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import BinaryIO

_PR_SET_PDEATHSIG = 1


def main(parent: int) -> None:
    """Work until asked to stop, or until the parent is no more."""
    faulthandler.enable()
    _die_with(parent)
    # Not for the processes that jobs start.
    pipe = os.fdopen(os.dup(0), "rb")
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    from squeezerl.studies.worker import Assignment, work
    from squeezerl.studies.worker_name import worker_name

    assignment = pickle.Unpickler(pipe).load()
    assert isinstance(assignment, Assignment)
    stop = threading.Event()
    threading.Thread(target=_listen, args=(pipe, stop), name="listen", daemon=True).start()
    # Notes of libraries to their users; nobody reads them here.
    warnings.simplefilter("ignore")
    work(assignment, worker_name(), stop)


def _die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent ends; elsewhere `_listen` does."""
    if platform.system() == "Linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)  # it ended before


def _listen(pipe: BinaryIO, stop: threading.Event) -> None:
    while pipe.read(1):
        stop.set()
    os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]))
