"""Records to and from the text that the tables hold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from squeezerl.errors import StoreError
from squeezerl.store.job import Job

# Of the table of jobs, those that make a job.
JOB_COLUMNS = ("id", "kind", "version", "params", "needs", "exclusive", "estimate_s")


def to_text(value: Any, what: str) -> str:
    """Plain JSON as compact text.

    Raises:
        StoreError: if it is not plain JSON; unknown numbers are `None`, not NaN.
    """
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise StoreError(f"{what} is not plain JSON: {error}") from error


def from_texts(texts: Sequence[str]) -> list[Any]:
    """Parse many at once, which is faster than one by one."""
    parsed: list[Any] = json.loads(f"[{','.join(texts)}]")
    return parsed


def clean(text: str) -> str:
    """Without what databases do not take in text: NUL and halves of surrogate pairs."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def job_of(row: Any) -> Job:
    """A job from its row."""
    values = {name: getattr(row, name) for name in JOB_COLUMNS}
    return make_job(*{**values, "params": json.loads(row.params)}.values())


def make_job(
    id_: str,
    kind: str,
    version: int,
    params: dict[str, Any],
    needs: str,
    exclusive: bool,
    estimate_s: float | None,
) -> Job:
    """A job from the values of `JOB_COLUMNS`, parameters parsed; its id is not hashed again."""
    job = object.__new__(Job)
    # Past the constructor of a frozen class, which takes most of the time where there are many.
    job.__dict__.update(
        id=id_,
        kind=kind,
        version=version,
        params=params,
        needs=tuple(needs.split()),
        exclusive=exclusive,
        estimate_s=estimate_s,
    )
    return job
