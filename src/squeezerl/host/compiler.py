"""The C compiler of this machine, and a cache of what it made."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import sys
import zlib
from functools import cache
from pathlib import Path

from squeezerl.errors import CompilerError

_NAMES = ("cc", "gcc", "clang")
_SECONDS = 300


@cache
def find_compiler(named: str | None = None) -> tuple[str, ...]:
    """The command of a C compiler: what `named` or the variable CC says, the system's, or zig's.

    Raises:
        CompilerError: if there is none.
    """
    named = named or os.environ.get("CC")
    if named:
        command = tuple(shlex.split(named))
        if command and shutil.which(command[0]):
            return command
        raise CompilerError(f"the C compiler {named!r} is not there; the variable CC names it")
    for name in _NAMES:
        if (path := shutil.which(name)) is not None:
            return (path,)
    return zig()


def zig() -> tuple[str, ...]:
    """The command of zig's C compiler, which compiles for other processors, too.

    Raises:
        CompilerError: if it is not installed.
    """
    if importlib.util.find_spec("ziglang") is None:
        raise CompilerError(
            "no C compiler was found; install one (for example `apt install gcc`), or "
            "pip install 'squeezerl[zig]'"
        )
    return (sys.executable, "-m", "ziglang", "cc")


def compile_c(source: str, target: Path, command: tuple[str, ...], flags: tuple[str, ...]) -> None:
    """Compile one source to the file `target`, which appears when it is complete.

    Raises:
        CompilerError: with the compiler's own message.
    """
    import tempfile

    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".compile-") as folder:
        code, made = Path(folder) / "source.c", Path(folder) / target.name
        code.write_text(source, encoding="utf-8")
        run_compiler([*command, *flags, str(code), "-o", str(made), "-lm"])
        made.replace(target)


def run_compiler(command: list[str]) -> str:
    """What a compiler prints.

    Raises:
        CompilerError: if it fails, with its message.
    """
    import subprocess

    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CompilerError(f"the C compiler {command[0]} does not run ({error})") from error
    if run.returncode != 0:
        said = (run.stderr or run.stdout).strip()[-2000:] or "it says nothing"
        raise CompilerError(
            f"the C compiler failed with status {run.returncode} ({shlex.join(command[:3])} ...):\n"
            f"{said}"
        )
    return run.stdout


def compiled(source: str, flags: tuple[str, ...]) -> Path:
    """The shared library of a source, compiled unless the cache has it.

    The cache is the folder `squeezerl` in the user's cache. Its files are named for the source, the
    compiler and the flags. Each process that finds none compiles by itself; the last one's file
    stays.

    Raises:
        CompilerError: if there is no compiler, or it fails.
    """
    command = find_compiler()
    stamp = Path(shutil.which(command[0]) or command[0]).resolve().stat()
    parts = [source, *command, *flags, str(stamp.st_mtime_ns), str(stamp.st_size), sys.platform]
    key = chr(0).join(parts).encode()
    # Two checksums, because hashlib brings OpenSSL into the process: four megabytes.
    target = _cache_folder() / f"{zlib.crc32(key):08x}{zlib.adler32(key):08x}-{len(key)}.so"
    if not target.is_file():
        compile_c(source, target, command, flags)
    return target


@cache
def _cache_folder() -> Path:
    """Where compiled files are kept; one for this process alone if the user's is not writable."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "squeezerl"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    except OSError:
        pass
    import tempfile

    return Path(tempfile.mkdtemp(prefix="squeezerl-"))
