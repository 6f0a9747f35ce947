"""The command of the crash tests: `python cheap_command.py URL STUDY FOLDER EXECUTOR`.

Ends with 0 when all jobs are done.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from cheap_jobs import run_cheap

from squeezerl.studies.execute import execute
from squeezerl.studies.location import Location


def main(url: str, study: str, folder: Path, executor: str) -> int:
    # Python leaves it ignored where the tests were started in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    counts = execute(
        url,
        study,
        location=Location(str(folder / "artifacts")),
        run=run_cheap,
        workers=3 if executor == "local" else 2,
        executor="ray" if executor == "ray" else "local",
        scratch=folder / "scratch",
    )
    return int(counts.done != counts.total)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4]))
