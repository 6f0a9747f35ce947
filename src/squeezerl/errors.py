"""The one exception tree: every error that a caller can cause or must know of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message, `; did you mean x?`; nothing where no known name is close."""
    import difflib  # a quarter of a megabyte, for messages alone

    close = difflib.get_close_matches(name[:64], list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


class _Advice:
    """What may help: `try_with` has arguments of the call, by name, that would do.

    The command line prints the command with these, ready to copy.
    """

    def __init__(self, *message: object, try_with: Mapping[str, Any] | None = None) -> None:
        super().__init__(*message)
        self.try_with = dict(try_with or {})


class SqueezeRLError(_Advice, Exception):
    """Base of all errors of this library. The command line prints it and exits with 2."""


class SqueezeRLWarning(_Advice, UserWarning):
    """Something that the caller should know, though the work goes on."""


class CheckpointError(SqueezeRLError):
    """A checkpoint, or a file beside it, is missing, damaged, hostile or inconsistent."""


class UnsupportedPolicyError(SqueezeRLError):
    """The checkpoint is sound, but holds a kind of policy that is not supported."""


class NetworkError(SqueezeRLError):
    """The parts of a network do not fit together, or a saved network is damaged."""


class FormatError(SqueezeRLError):
    """A format cannot hold a network."""


class CompilerError(SqueezeRLError):
    """There is no C compiler, or it failed; the message has what it said."""


class SpecError(SqueezeRLError):
    """A compression spec, or a sequence of them, makes no sense."""


class CompressionError(SqueezeRLError):
    """A method could not treat the policy as its spec asks."""


class ArtifactError(SqueezeRLError):
    """A folder is not an artifact, or is damaged."""


class AuditError(ArtifactError):
    """An artifact's model is not what its manifest claims."""


class EnvError(SqueezeRLError):
    """An environment is unknown, cannot be made, or does not fit the policy."""


class OutputError(SqueezeRLError):
    """An output folder cannot be written, or must not be overwritten."""


class InvalidArgumentError(SqueezeRLError):
    """A number or name that the caller gave is out of its range."""


class EvaluationError(SqueezeRLError):
    """An evaluation ran, but its result says nothing about what was asked."""


class MeasurementError(SqueezeRLError):
    """A measurement could not be made, or its result would be meaningless."""


class HyperparameterError(SqueezeRLError):
    """A setting for training is unknown, impossible or not readable."""


class StudyError(SqueezeRLError):
    """A study's file, its name, or a job of it makes no sense; for files with the line."""


class MissingArtifactsError(StudyError):
    """Finished jobs of a study left files that are missing, and other jobs need them.

    `problem` says what is missing and where, without what to do.
    """

    def __init__(self, problem: str, advice: str) -> None:
        super().__init__(f"{problem}; {advice}")
        self.problem = problem


class StoreError(SqueezeRLError):
    """A store cannot be opened, read or written, or lacks what was asked for."""


class StoreUnreachableError(StoreError):
    """The database of a store is away; later it may be back."""


class ExecutionError(SqueezeRLError):
    """A study could not go on: its workers do not start, or end again and again."""
