"""A profile's rows as a table for people, made from its JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from squeezerl.records import Interval
from squeezerl.report.text import format_si, format_si_interval, markdown_table

EPISODES_LEFT = (0, 1)
LEGEND = (
    "Latency is that of one call on recorded observations: the median of the medians of six to "
    "twelve processes, with its 95 % interval, and p99, over undisturbed times; `!` marks what is "
    "not stable. Smaller, faster and less are the reference's figures divided by a row's; those of "
    "latency and energy are medians over rounds. Memory is resident: what importing and using the "
    "runtime adds to a bare interpreter, what the policy allocates on top, and all with the "
    "interpreter."
)
_DASH = "–"
_MIXED = "(~ estimate)"


def profile_header(data: dict[str, Any]) -> tuple[str, ...]:
    """Titles; that of the joules says whether they are an estimate."""
    return (
        *(("host",) if _several_hosts(data) else ()),
        "policy",
        "runtime",
        "file",
        "smaller",
        "latency [95 %]",
        "p99",
        "faster",
        "memory: runtime",
        "model",
        "total",
        "less memory",
        _energy_title(data),
        "less energy",
    )


def profile_left(data: dict[str, Any]) -> tuple[int, ...]:
    """The columns that hold words."""
    return (0, 1, 2) if _several_hosts(data) else (0, 1)


def _energy_title(data: dict[str, Any]) -> str:
    kinds = {row["energy_estimated"] for row in data["rows"] if row["energy_source"]}
    if kinds == {True}:
        return "J/decision, estimate"
    return f"J/decision {_MIXED}" if True in kinds else "J/decision"


def profile_rows(data: dict[str, Any]) -> list[tuple[str, ...]]:
    """One line for each policy in each runtime."""
    names = short_names([row["artifact"] for row in data["rows"]])
    reference = (data["reference"]["artifact"], data["reference"]["runtime"])
    shaky = any(
        row["latency_s"] and not row["latency_s"]["stable"]
        for row in data["rows"]
        if (row["artifact"], row["runtime"]) == reference
    )
    return [
        (
            *((row["host_id"],) if _several_hosts(data) else ()),
            *_row(row, names[row["artifact"]], _MIXED in _energy_title(data), shaky),
        )
        for row in data["rows"]
    ]


def _several_hosts(data: dict[str, Any]) -> bool:
    return len({row["host_id"] for row in data["rows"]}) > 1


EPISODES_HEADER = (
    "policy",
    "runtime",
    "episodes",
    "mean return",
    "mean length",
    "time/step",
    "deciding",
    "energy/step",
    "energy/episode",
)


def episode_rows(data: dict[str, Any]) -> list[tuple[str, ...]]:
    """What whole episodes took, environment included: the rows that played some."""
    names = short_names([row["artifact"] for row in data["rows"]])
    return [
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


def profile_notes(data: dict[str, Any]) -> list[str]:
    """What a reader must know beside the table: what is missing, noisy or estimated."""
    names = short_names([row["artifact"] for row in data["rows"]])
    first, reference = data["rows"][0], data["reference"]
    notes = [
        f"batch {first['batch']}, threads {first['threads']}, {data['seconds']:g} s for each row, "
        f"seed {data['seed']}; the reference is {names[reference['artifact']]} in "
        f"{reference['runtime']}; smaller, faster and less are its figures divided by a row's"
    ]
    problems: dict[str, list[str]] = {}
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
    if data["energy_problem"]:
        notes.append(f"no energy: {data['energy_problem']}")
    for host in data.get("other_hosts", []):
        if host.get("id") != data["host"]["id"]:
            notes.append(f"host {host.get('id')}: {host.get('cpu')}, {host.get('system')}")
    return notes


def profile_markdown(data: dict[str, Any]) -> str:
    """Both tables, the notes and the host, as Markdown."""
    host = data["host"]
    lines = markdown_table(profile_header(data), profile_rows(data), left=profile_left(data))
    if episodes := episode_rows(data):
        lines += ["", *markdown_table(EPISODES_HEADER, episodes, left=EPISODES_LEFT)]
    lines += ["", *(f"- {note}" for note in profile_notes(data)), "", LEGEND, ""]
    load = "unknown" if host["load"] is None else f"{host['load']:.2f}"
    lines += [
        f"Host: {host['cpu']}, {host['cores']} cores, {' '.join(host['cpu_flags'])}, "
        f"{'virtual machine, ' if host['virtual_machine'] else ''}governor "
        f"{host['governor'] or 'unknown'}, {host['system']}, kernel {host['kernel']}, load {load} "
        f"before, Python {host['python']}, "
        f"{', '.join(f'{name} {version}' for name, version in host['libraries'].items())}.",
        "",
    ]
    return "\n".join(lines)


def measured_columns(data: dict[str, Any] | None) -> tuple[str, ...]:
    """Titles that a table of candidates gets from a profile of some of them."""
    if data is None:
        return ()
    has_energy = any(row["energy_source"] for row in data["rows"])
    return ("latency", "model memory", *((_energy_title(data),) if has_energy else ()))


def measured_cells(data: dict[str, Any] | None) -> dict[str, tuple[str, ...]]:
    """The cells of those columns, by candidate; those that could not be measured are left out."""
    width = len(measured_columns(data))
    cells = {}
    for row in data["rows"] if data else ():
        if (latency := row["latency_s"]) is None:
            continue
        energy = row["energy_j_per_decision"]
        cells[row["artifact"]] = (
            format_si(latency["median"], "s") + ("" if latency["stable"] else " !"),
            _bytes((row["memory_bytes"] or {}).get("model")),
            _DASH if energy is None else format_si(energy["mean"], "J"),
        )[:width]
    return cells


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
        return (name, row["runtime"], *size, *[_DASH] * 9)
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
    return _DASH if ratio is None else f"{ratio:.2f}x"


def _joules(energy: dict[str, Any] | None) -> str:
    return _DASH if energy is None else format_si_interval(_interval(energy, "mean"), "J")


def _bytes(size: float | None) -> str:
    return _DASH if size is None else format_si(size, "B")


def _interval(figure: dict[str, Any], key: str) -> Interval:
    return Interval(estimate=figure[key], low=figure["ci95"][0], high=figure["ci95"][1])
