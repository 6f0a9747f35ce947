"""The measuring process: `python -P -m squeezerl.measurement.probe JOB RESULT SAMPLES.npz`.

Each measurement starts it afresh, and the first thing it does is to read its own memory: whatever
this module imported would count as the interpreter's.
"""

import sys

Memory = dict[str, int | None]

_ROLLUP = "/proc/self/smaps_rollup"


def memory_now() -> Memory:
    """The memory of this process in bytes; on Linux without any import.

    `rss_bytes` counts all pages of library files, even if other processes have mapped them too:
    that is what a deployment alone on its machine holds. `uss_bytes` counts only pages that no
    other process has mapped, as the parent process often has. `anonymous_bytes` counts those that
    no file stands behind, the heap above all; it is `None` where the system does not report it.
    """
    try:
        with open(_ROLLUP, encoding="ascii") as file:  # noqa: PTH123 - pathlib would count
            lines = [line.split() for line in file]
    except OSError:
        return _memory_by_psutil()
    kib = {words[0]: int(words[1]) for words in lines if len(words) == 3 and words[2] == "kB"}
    return {
        "rss_bytes": 1024 * kib["Rss:"],
        "uss_bytes": 1024 * (kib["Private_Clean:"] + kib["Private_Dirty:"]),
        "anonymous_bytes": 1024 * kib["Anonymous:"],
    }


def _memory_by_psutil() -> Memory:
    import psutil

    process = psutil.Process()
    try:
        uss = process.memory_full_info().uss
    except psutil.AccessDenied:
        uss = None
    return {"rss_bytes": process.memory_info().rss, "uss_bytes": uss, "anonymous_bytes": None}


if __name__ == "__main__":
    start = memory_now()
    from squeezerl.measurement.measuring import run_job

    run_job(start, *sys.argv[1:])
