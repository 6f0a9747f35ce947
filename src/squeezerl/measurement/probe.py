"""The measuring process: `python -P -m squeezerl.measurement.probe JOB RESULT SAMPLES.npz`.

It is started afresh for every measurement, and its first act is to read its own memory.
"""

import sys

from squeezerl.measurement.memory import memory_now

if __name__ == "__main__":
    start = memory_now()
    from squeezerl.measurement.measuring import run_job

    run_job(start, *sys.argv[1:])
