"""A profile as JSON, whose keys `profile --json` and its file promise, and as a document.

The document is made from the JSON, so that one that was written before can be shown too.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from squeezerl.errors import InvalidArgumentError
from squeezerl.measurement.result import ProcessRecord, Profile, ProfileRow
from squeezerl.measurement.summary import (
    Episodes,
    energy_of,
    energy_ratio,
    episodes_of,
    latency_of,
    latency_ratio,
    memory_of,
    usual_gauge_ns,
)
from squeezerl.records import Interval, to_json
from squeezerl.report.document import Block, Code, Document, Items, Paragraph, Table, Text
from squeezerl.report.renderers import render
from squeezerl.report.text import DASH, bounds, format_si, format_si_interval

_MOST_BYTES = 2**26


def profile_json(profile: Profile) -> dict[str, Any]:
    """The profile without the samples.

    The first measured row is the reference of all ratios; there is none if only microcontrollers
    were emulated.
    """
    processes = [process for row in profile.rows for process in row.processes]
    gauge = usual_gauge_ns(processes, profile.threads) if processes else math.inf
    reference = next((row for row in profile.rows if row.processes), None)
    return {
        "host": to_json(profile.host) | {"id": profile.host.id},
        "seconds": profile.seconds,
        "precision": profile.precision,
        "seed": profile.seed,
        "usual_gauge_s": gauge / 1e9 if math.isfinite(gauge) else None,
        "reference": reference and {"artifact": reference.name, "runtime": reference.runtime},
        "energy_problem": profile.meter_problem,
        "rows": [_row_json(row, reference, profile, gauge) for row in profile.rows],
        "microcontrollers": [
            {
                "artifact": row.name,
                "processor": row.processor,
                **{key: getattr(row.record, key, None) for key in _EMULATED},
                "problem": row.problem,
            }
            for row in profile.microcontrollers
        ],
    }


_EMULATED = ("flash_bytes", "ram_bytes", "instructions", "wrong", "checksum")


def beside(data: dict[str, Any], other: dict[str, Any], label: str) -> dict[str, Any]:
    """A profile's JSON with the rows of another, without ratios: another run or another host.

    Args:
        data: the profile.
        other: what `profile_json` gave before, perhaps on another machine.
        label: goes behind the names of its rows, where shortening keeps it; without slashes.
    """

    def labelled(key: str) -> list[dict[str, Any]]:
        rows = other.get(key, [])
        return [row | {"artifact": f"{row['artifact']} ({label})"} for row in rows]

    rows = [row | {"reference_ratio": None} for row in labelled("rows")]
    return data | {
        "rows": [*data["rows"], *rows],
        "microcontrollers": [*data.get("microcontrollers", []), *labelled("microcontrollers")],
        "other_hosts": [
            *data.get("other_hosts", []),
            other["host"],
            *other.get("other_hosts", []),
        ],
    }


def read_profile(path: Path) -> dict[str, Any]:
    """The JSON of a profile that was written before, perhaps on another machine.

    Raises:
        InvalidArgumentError: if this release cannot show it, alone or beside another.
    """
    if not path.is_file():
        raise InvalidArgumentError(f"{path}: no such file")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"larger than {_MOST_BYTES:,} bytes")
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        profile_markdown(beside(data, data, path.stem))
    except Exception as error:  # a file that is no profile may make anything go wrong
        raise InvalidArgumentError(
            f"{path}: not a profile that squeezerl wrote ({type(error).__name__}: {error})"
        ) from error
    return data


def _row_json(
    row: ProfileRow, reference: ProfileRow | None, profile: Profile, gauge: float
) -> dict[str, Any]:
    return {
        "artifact": row.name,
        "runtime": row.runtime,
        "threads": profile.threads,
        "batch": profile.batch,
        "host_id": profile.host.id,
        "agent_sha256": row.source.sha256,
        "env_id": row.env_id,
        "observations": to_json(row.observations),
        **to_json(row.size),
        **(_measured_json(row, profile, gauge) if row.processes else _UNMEASURED),
        "reference_ratio": reference and _ratios_json(reference, row, gauge),
        "problem": row.problem,
    }


_UNMEASURED: dict[str, None] = dict.fromkeys(
    ("latency_s", "decisions_per_second", "startup_s", "memory_bytes", "gpu_memory_bytes",
     "energy_j_per_decision", "energy_source", "energy_estimated", "cpu_s_per_decision",
     "episodes", "episodes_problem")
)  # fmt: skip


def _measured_json(row: ProfileRow, profile: Profile, gauge: float) -> dict[str, Any]:
    """What the processes of a row say."""
    latency = latency_of(row.processes, gauge, precision=profile.precision, threads=profile.threads)
    energy = energy_of(row.processes, gauge)
    meter = row.processes[0].meter
    return {
        "latency_s": {
            "median": latency.median.estimate,
            "ci95": bounds(latency.median),
            "p90": latency.p90_s,
            "p99": latency.p99_s,
            "max": latency.max_s,
            "disturbed_p99": latency.disturbed_p99_s,
            "disturbed_max": latency.disturbed_max_s,
            "jitter": latency.jitter_s,
            "stable": latency.unstable_because is None,
            "unstable_because": latency.unstable_because,
            "undisturbed_share": latency.undisturbed_share,
            "samples": latency.samples,
            "processes": len(row.processes),
        },
        "decisions_per_second": profile.batch / latency.median.estimate,
        "startup_s": {
            name: statistics.median(getattr(p.startup, f"{name}_s") for p in row.processes)
            for name in ("import", "load", "first_action")
        },
        "memory_bytes": _memory_json(row.processes),
        "gpu_memory_bytes": row.processes[-1].gpu_memory_bytes,
        "energy_j_per_decision": _mean_json(energy.per_decision),
        "energy_source": meter.source if meter else None,
        "energy_estimated": meter.estimated if meter else None,
        "cpu_s_per_decision": _mean_json(energy.cpu_s_per_decision),
        "episodes": _episodes_json(episodes_of(row.processes)),
        "episodes_problem": next(
            (p.episodes_problem for p in row.processes if p.episodes_problem), None
        ),
    }


def _memory_json(processes: tuple[ProcessRecord, ...]) -> dict[str, Any] | None:
    memory = memory_of(processes)
    if memory is None:
        return None
    return {
        "interpreter": memory.interpreter_bytes,
        "runtime": memory.runtime_bytes,
        "model": memory.model_bytes,
        "total": memory.total_bytes,
        "unique_total": memory.unique_bytes,
        "working_peak": memory.working_bytes,
        "stages": [to_json(process.memory) for process in processes],
    }


def _episodes_json(episodes: Episodes | None) -> dict[str, Any] | None:
    if episodes is None:
        return None
    return {
        "episodes": episodes.episodes,
        "mean_length": episodes.mean_length,
        "mean_return": episodes.mean_return,
        "seconds_per_step": episodes.seconds_per_step,
        "deciding_share": episodes.deciding_share,
        "j_per_step": _mean_json(episodes.j_per_step),
        "j_per_episode": _mean_json(episodes.j_per_episode),
    }


def _ratios_json(reference: ProfileRow, row: ProfileRow, gauge: float) -> dict[str, Any]:
    """How many times less the row needs than the reference."""
    theirs, ours = memory_of(reference.processes), memory_of(row.processes)
    return {
        "file_bytes": reference.size.file_bytes / row.size.file_bytes,
        "weight_bytes": reference.size.weight_bytes / row.size.weight_bytes,
        "macs": reference.size.macs / row.size.macs,
        "latency": _median_json(latency_ratio(reference, row, gauge)),
        "memory_total": theirs.total_bytes / ours.total_bytes if theirs and ours else None,
        "energy": _median_json(energy_ratio(reference, row, gauge)),
    }


def _mean_json(interval: Interval | None) -> dict[str, Any] | None:
    return None if interval is None else {"mean": interval.estimate, "ci95": bounds(interval)}


def _median_json(interval: Interval | None) -> dict[str, Any] | None:
    return None if interval is None else {"median": interval.estimate, "ci95": bounds(interval)}


_LEGEND: Text = (
    "Latency is that of one call on recorded observations: the median of the medians of six to "
    "twelve processes, with its 95 % interval, and p99, over undisturbed times; ",
    Code("!"),
    " marks what is not stable. Smaller, faster and less are the reference's figures divided by a "
    "row's; those of latency and energy are medians over rounds. Memory is resident: what "
    "importing and using the runtime adds to a bare interpreter, what the policy allocates on top, "
    "and all with the interpreter.",
)
_MIXED = "(~ estimate)"


def profile_table(data: dict[str, Any]) -> Table:
    """One line for each policy in each runtime; the title of joules says if they are estimated."""
    names = short_names([row["artifact"] for row in data["rows"]])
    reference = tuple((data["reference"] or {}).values())
    shaky = any(
        row["latency_s"] and not row["latency_s"]["stable"]
        for row in data["rows"]
        if (row["artifact"], row["runtime"]) == reference
    )
    several_hosts = len({row["host_id"] for row in data["rows"]}) > 1
    energy = _energy_title(data)
    rows = [
        (
            *((row["host_id"],) if several_hosts else ()),
            *_row(row, names[row["artifact"]], _MIXED in energy, shaky),
        )
        for row in data["rows"]
    ]
    header = (*(("host",) if several_hosts else ()), "policy", "runtime", "file", "smaller",
              "latency [95 %]", "p99", "faster", "memory: runtime", "model", "total",
              "less memory", energy, "less energy")  # fmt: skip
    return Table(header=header, rows=tuple(rows), left=(0, 1, 2) if several_hosts else (0, 1))


def _energy_title(data: dict[str, Any]) -> str:
    kinds = {row["energy_estimated"] for row in data["rows"] if row["energy_source"]}
    if kinds == {True}:
        return "J/decision, estimate"
    return f"J/decision {_MIXED}" if True in kinds else "J/decision"


def episodes_table(data: dict[str, Any]) -> Table:
    """What whole episodes took, environment included: the rows that played some."""
    names = short_names([row["artifact"] for row in data["rows"]])
    rows = [
        (
            names[row["artifact"]],
            row["runtime"],
            str(played["episodes"]),
            f"{played['mean_return']:,.0f}",
            f"{played['mean_length']:,.0f}",
            format_si(played["seconds_per_step"], "s"),
            f"{played['deciding_share']:.0%}",
            _joules(played["j_per_step"]),
            _joules(played["j_per_episode"]),
        )
        for row in data["rows"]
        if (played := row["episodes"]) is not None
    ]
    header = ("policy", "runtime", "episodes", "mean return", "mean length", "time/step",
              "deciding", "energy/step", "energy/episode")  # fmt: skip
    return Table(header=header, rows=tuple(rows), left=(0, 1))


def microcontrollers_table(data: dict[str, Any]) -> Table:
    """What the policies need on emulated processors, and how many times less than the first."""
    rows = data.get("microcontrollers", [])
    names = short_names([row["artifact"] for row in rows])
    first: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["instructions"]:
            first.setdefault(row["processor"], row)
    cells = []
    for row in rows:
        title = (names[row["artifact"]], row["processor"])
        if row["instructions"] is None:
            cells.append((*title, *[DASH] * 6))
            continue
        reference = first[row["processor"]]
        flash, count = row["flash_bytes"], row["instructions"]
        cells.append(
            (
                *title,
                f"{flash:,}",
                f"{row['ram_bytes']:,}",
                f"{count:,}",
                _times(reference["flash_bytes"] / flash),
                _times(reference["instructions"] / count),
                "agree" if not row["wrong"] else f"{row['wrong']} differ",
            )
        )
    header = ("policy", "processor, emulated", "flash bytes", "RAM bytes", "instructions/decision",
              "less flash", "fewer instructions", "self-test")  # fmt: skip
    return Table(header=header, rows=tuple(cells), left=(0, 1))


def profile_tables(data: dict[str, Any]) -> tuple[Table, ...]:
    """Those of decisions, of episodes and of microcontrollers, as far as there are any."""
    tables = (profile_table(data), episodes_table(data), microcontrollers_table(data))
    return tuple(table for table in tables if table.rows)


def profile_notes(data: dict[str, Any]) -> list[str]:
    """What a reader must know beside the table: what is missing, noisy or estimated."""
    names = short_names([row["artifact"] for row in data["rows"]])
    notes, problems = [], dict[str, list[str]]()
    if (reference := data["reference"]) is not None:
        first = data["rows"][0]
        notes.append(
            f"batch {first['batch']}, threads {first['threads']}, {data['seconds']:g} s for each "
            f"row, seed {data['seed']}; the reference is {names[reference['artifact']]} in "
            f"{reference['runtime']}; smaller, faster and less are its figures divided by a row's"
        )
    if emulated := data.get("microcontrollers", []):
        notes.append(
            "microcontrollers are emulated: flash is code and constants of the linked image, RAM "
            "includes the stack, and instructions are counted; cycles differ, since a "
            "multiplication, a load or a jump can take several"
        )
    for row in emulated:
        if row["problem"]:
            title = f"{Path(row['artifact']).name} on {row['processor']}"
            problems.setdefault(row["problem"], []).append(title)
    for row in data["rows"]:
        title = f"{names[row['artifact']]} in {row['runtime']}"
        if row["problem"]:
            problems.setdefault(row["problem"], []).append(title)
        elif not row["latency_s"]["stable"]:
            notes.append(f"{title}: not stable, {row['latency_s']['unstable_because']}")
        if row["episodes_problem"]:
            notes.append(f"{title}: no episodes, {row['episodes_problem']}")
    notes += [f"{', '.join(titles)}: {problem}" for problem, titles in problems.items()]
    sources = sorted({row["energy_source"] for row in data["rows"] if row["energy_source"]})
    notes += [f"energy: {source}" for source in sources]
    if data["energy_problem"] and data["rows"]:
        notes.append(f"no energy: {data['energy_problem']}")
    for host in data.get("other_hosts", []):
        if host.get("id") != data["host"]["id"]:
            notes.append(f"host {host.get('id')}: {host.get('cpu')}, {host.get('system')}")
    return notes


def profile_blocks(data: dict[str, Any]) -> tuple[Block, ...]:
    """The tables, the notes, how to read them, and the host."""
    host = data["host"]
    load = "unknown" if host["load"] is None else f"{host['load']:.2f}"
    libraries = ", ".join(f"{name} {version}" for name, version in host["libraries"].items())
    return (
        *profile_tables(data),
        Items(tuple(profile_notes(data))),
        *((Paragraph(_LEGEND),) if data["rows"] else ()),
        Paragraph(
            f"Host: {host['cpu']}, {host['cores']} cores, {' '.join(host['cpu_flags'])}, "
            f"{'virtual machine, ' if host['virtual_machine'] else ''}governor "
            f"{host['governor'] or 'unknown'}, {host['system']}, kernel {host['kernel']}, "
            f"load {load} before, Python {host['python']}, {libraries}."
        ),
    )


def profile_markdown(data: dict[str, Any]) -> str:
    """The tables, the notes and the host, as Markdown.

    Args:
        data: what `profile_json` gives.
    """
    return render(Document(title="", blocks=profile_blocks(data)))


def measured_columns(data: dict[str, Any] | None) -> tuple[str, ...]:
    """Titles that a table of candidates gets from a profile of some of them.

    Each runtime has a latency; memory and joules are those of the first one.
    """
    if data is None:
        return ()
    has_energy = any(row["energy_source"] for row in data["rows"])
    first, *others = _runtimes(data)
    latencies = (f"{name} latency" for name in (first, *others)) if others else ("latency",)
    return (*latencies, "model memory", *((_energy_title(data),) if has_energy else ()))


def _runtimes(data: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(row["runtime"] for row in data["rows"]))


def measured_cells(data: dict[str, Any] | None) -> dict[str, tuple[str, ...]]:
    """The cells of those columns, by candidate; those that could not be measured are left out."""
    if data is None:
        return {}
    width, runtimes = len(measured_columns(data)), _runtimes(data)
    rows = {(row["artifact"], row["runtime"]): row for row in data["rows"]}
    cells = {}
    for artifact in dict.fromkeys(artifact for artifact, _ in rows):
        first = rows[artifact, runtimes[0]]
        latencies = [rows[artifact, runtime]["latency_s"] for runtime in runtimes]
        if not any(latencies):
            continue
        energy = first["energy_j_per_decision"]
        cells[artifact] = (
            *map(_median, latencies),
            _bytes((first["memory_bytes"] or {}).get("model")),
            DASH if energy is None else format_si(energy["mean"], "J"),
        )[:width]
    return cells


def _median(latency: dict[str, Any] | None) -> str:
    if latency is None:
        return DASH
    return format_si(latency["median"], "s") + ("" if latency["stable"] else " !")


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """The shortest endings that tell the paths apart."""
    names = {}
    for path in paths:
        parts = Path(path).parts or (path,)
        for count in range(1, len(parts) + 1):
            ending = parts[-count:]
            if all(other == path or Path(other).parts[-count:] != ending for other in paths):
                break
        names[path] = str(Path(*ending))
    return names


def _row(row: dict[str, Any], name: str, mixed: bool, shaky: bool) -> tuple[str, ...]:
    ratios = row["reference_ratio"] or {}
    size = (format_si(row["file_bytes"], "B"), _times(ratios.get("file_bytes")))
    if row["latency_s"] is None:
        return (name, row["runtime"], *size, *[DASH] * 9)
    latency, memory = row["latency_s"], row["memory_bytes"] or {}
    return (
        name,
        row["runtime"],
        *size,
        format_si_interval(_interval(latency, "median"), "s") + ("" if latency["stable"] else " !"),
        format_si(latency["p99"], "s"),
        _times((ratios.get("latency") or {}).get("median"))
        + (" !" if ratios and (shaky or not latency["stable"]) else ""),
        *(_bytes(memory.get(part)) for part in ("runtime", "model", "total")),
        _times(ratios.get("memory_total")),
        _joules(row["energy_j_per_decision"]) + (" ~" if mixed and row["energy_estimated"] else ""),
        _times((ratios.get("energy") or {}).get("median")),
    )


def _times(ratio: float | None) -> str:
    return DASH if ratio is None else f"{ratio:.2f}x"


def _joules(energy: dict[str, Any] | None) -> str:
    return DASH if energy is None else format_si_interval(_interval(energy, "mean"), "J")


def _bytes(size: float | None) -> str:
    return DASH if size is None else format_si(size, "B")


def _interval(figure: dict[str, Any], key: str) -> Interval:
    return Interval(estimate=figure[key], low=figure["ci95"][0], high=figure["ci95"][1])
