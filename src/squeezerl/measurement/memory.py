"""Memory of this process at this moment; on Linux without any import, which would count.

Pages of library files count fully in `rss` and `file`, whoever else has them mapped: that is what
a deployment alone on its machine holds. In `uss` they only count while no other process maps them,
which here the parent process often does.
"""

Memory = dict[str, int | None]

_ROLLUP = "/proc/self/smaps_rollup"


def memory_now() -> Memory:
    """Bytes: `rss_bytes`, `uss_bytes` and `anonymous_bytes` (heap and the like: no file behind).

    Where the system does not tell what is anonymous, it is `None`.
    """
    try:
        with open(_ROLLUP, encoding="ascii") as file:  # noqa: PTH123 - pathlib would count
            lines = [line.split() for line in file]
    except OSError:
        return _portable()
    kib = {words[0]: int(words[1]) for words in lines if len(words) == 3 and words[2] == "kB"}
    return {
        "rss_bytes": 1024 * kib["Rss:"],
        "uss_bytes": 1024 * (kib["Private_Clean:"] + kib["Private_Dirty:"]),
        "anonymous_bytes": 1024 * kib["Anonymous:"],
    }


def _portable() -> Memory:
    import psutil

    process = psutil.Process()
    try:
        uss = process.memory_full_info().uss
    except psutil.AccessDenied:
        uss = None
    return {"rss_bytes": process.memory_info().rss, "uss_bytes": uss, "anonymous_bytes": None}
