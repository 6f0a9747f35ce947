"""What Ctrl-C and SIGTERM do to long commands: these stop in good order."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import typer

from squeezerl.cli.console import err


class Stop:
    """Whether a signal asked the command to stop, and the exit code that this gives it."""

    signal_number: int | None = None

    def is_asked(self) -> bool:
        """Whether one did."""
        return self.signal_number is not None

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C, 143 after SIGTERM, as a shell has it."""
        return 128 + (self.signal_number or signal.SIGINT)


@contextmanager
def stop_on_signals(*, asked: str, ended: str) -> Iterator[Stop]:
    """Ctrl-C and SIGTERM ask the block to stop; a second one ends it at once.

    Args:
        asked: what to say after the first.
        ended: what to say after the second.
    """
    stop = Stop()

    def ask(number: int, frame: FrameType | None) -> Any:
        if stop.is_asked():
            raise KeyboardInterrupt
        stop.signal_number = number
        err.print(f"stopping: {asked} (again to end at once)", style="yellow")

    with _handled_by(ask):
        try:
            yield stop
        except KeyboardInterrupt:
            err.print(f"ended at once; {ended}", style="yellow", markup=False)
            raise typer.Exit(stop.exit_code) from None


@contextmanager
def interrupt_on_signals(said: str) -> Iterator[None]:
    """Ctrl-C and SIGTERM both raise `KeyboardInterrupt` in the block, which ends the command.

    Args:
        said: what to say then.
    """
    received = signal.SIGINT

    def interrupt(number: int, frame: FrameType | None) -> Any:
        nonlocal received
        received = signal.Signals(number)
        raise KeyboardInterrupt

    with _handled_by(interrupt):
        try:
            yield
        except KeyboardInterrupt:
            err.print(said, style="yellow", markup=False)
            raise typer.Exit(128 + received) from None


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    before = {n: signal.signal(n, handler) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
