"""Reading the small files of /sys, where a sensor may vanish at any time."""

from __future__ import annotations

from pathlib import Path

from squeezerl.errors import MeasurementError


def folders(root: Path) -> list[Path]:
    """The folders in `root`, sorted by name; none if `root` does not exist."""
    try:
        return sorted(path for path in root.iterdir() if path.is_dir())
    except FileNotFoundError:
        return []
    except OSError as problem:
        raise MeasurementError(f"{root} cannot be listed: {problem.strerror}.") from problem


def read_word(path: Path, *, if_forbidden: str = "Run as a user who may.") -> str:
    """The file's text without the white space around it."""
    try:
        return path.read_text(encoding="ascii").strip()
    except PermissionError as problem:
        raise MeasurementError(f"{path} may not be read by this user. {if_forbidden}") from problem
    except UnicodeDecodeError as problem:
        raise MeasurementError(f"{path} does not hold text: its driver is broken.") from problem
    except OSError as problem:
        raise MeasurementError(
            f"{path} cannot be read: {problem.strerror}. The sensor went away, or its driver is "
            "broken: measure again, or use another meter."
        ) from problem


def read_count(path: Path, *, if_forbidden: str = "Run as a user who may.") -> int:
    """The whole number in the file, 0 or more."""
    word = read_word(path, if_forbidden=if_forbidden)
    # A 64-bit number has at most 20 digits; anything longer is garbage.
    if not word.isdecimal() or len(word) > 20:
        raise MeasurementError(
            f"{path} holds {word[:40]!r}, not a whole number from 0 up: its driver is broken. "
            "Use another meter."
        )
    return int(word)
