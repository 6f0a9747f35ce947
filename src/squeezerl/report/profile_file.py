"""Reading a profile that was written before, perhaps on another machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from squeezerl.errors import InvalidArgumentError
from squeezerl.report.profile_contract import beside
from squeezerl.report.profile_table import profile_markdown

_MOST_BYTES = 2**26


def read_profile(path: Path) -> dict[str, Any]:
    """The JSON of a profile, which can be shown as it is and beside another.

    Raises:
        InvalidArgumentError: if it is none that this release can show.
    """
    if not path.is_file():
        raise InvalidArgumentError(f"{path}: no such file")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"larger than {_MOST_BYTES:,} bytes")
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        profile_markdown(beside(data, data, path.stem))
    except Exception as error:  # whatever a file that is no profile makes go wrong
        raise InvalidArgumentError(
            f"{path}: not a profile that squeezerl wrote ({type(error).__name__}: {error})"
        ) from error
    return data
