"""The command of the crash tests: `python cheap_command.py URL STUDY FOLDER EXECUTOR WORKERS`.

It ends with 0 when all jobs are done. A study named "search" gets its jobs round by round, from
`cheap_search`.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import cheap_jobs  # noqa: F401 - it registers the kind of job
from cheap_search import plan_more

from squeezerl.jobs.execute import execute
from squeezerl.jobs.location import Location


def main(url: str, study: str, folder: Path, executor: str, workers: int) -> int:
    # Python leaves it ignored where the tests were started in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    counts = execute(
        url,
        study,
        location=Location(str(folder / "artifacts")),
        workers=workers,
        executor=executor,
        scratch=folder / "scratch",
        plan_more=plan_more if study == "search" else None,
    )
    return int(counts.done != counts.total)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3], Path(sys.argv[3]), sys.argv[4], int(sys.argv[5])))
