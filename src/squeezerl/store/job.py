"""Jobs: one piece of work each, known by the hash of all that determines its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be done.

    Args:
        kind: which work it is, for example "evaluate".
        version: of that work; raised when the same parameters come to give another result.
        params: all that determines the result, as plain JSON. Other jobs whose results go in are
            named in it by their ids.
        needs: ids of the jobs that must be done before.
        exclusive: whether it must be alone on its host, as measurements must.
        estimate_s: seconds that it may take.
    """

    kind: str
    version: int = 1
    params: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    exclusive: bool = False
    estimate_s: float | None = None

    @cached_property
    def id(self) -> str:
        """The identity: equal for equal work, whichever study asks for it, on every machine."""
        content = [self.kind, self.version, self.params, sorted(self.needs)]
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a job found: `content` is plain JSON, `arrays` are raw samples."""

    content: Mapping[str, Any]
    arrays: Arrays = field(default_factory=dict)
