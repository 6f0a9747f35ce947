"""`squeezerl doctor`: what can be measured on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from squeezerl.cli import console

if TYPE_CHECKING:
    from squeezerl.measurement.doctor import Diagnosis
    from squeezerl.records import Host

_UNKNOWN = "unknown"


@console.reports_errors
def doctor(as_json: console.JsonOption = False) -> None:
    """Show what can be measured here: noise, energy sensors, governor, cores, runtimes.

    Example: squeezerl doctor
    """
    from squeezerl.measurement.doctor import diagnose

    with console.progress_bar("examining the machine") as update:
        update("examining the machine", 0.0)
        diagnosis = diagnose()
    if as_json:
        console.print_json(_describe(diagnosis))
        return
    console.print_table(("machine", ""), _host_rows(diagnosis.host), left=(0, 1))
    noise = diagnosis.noise
    console.say()
    console.print_table(
        ("noise, as one pinned process sees it", ""),
        [
            ("a fixed piece of work, usually", f"{noise.usual_s * 1e6:.1f} µs"),
            ("its median", f"{noise.median_s * 1e6:.1f} µs"),
            ("99 % of its times are below", f"{noise.p99_s * 1e6:.1f} µs"),
            ("longest", f"{noise.max_s * 1e6:.0f} µs"),
            ("slowed down", f"{noise.disturbed_share:.0%} of the time"),
            ("share of its core", f"{noise.cpu_share:.1%}"),
            (
                "taken by a hypervisor",
                _UNKNOWN if noise.steal_share is None else f"{noise.steal_share:.1%}",
            ),
        ],
        left=(0,),
    )
    console.say()
    console.print_table(
        ("runtime", "version", "profile"),
        [(r.name, r.version or "–", r.problem or "yes") for r in diagnosis.runtimes],
        left=(0, 1, 2),
    )
    console.say()
    console.print_table(
        ("energy sensor", "available", "what"),
        [
            (s.name, "yes" if s.available else "no", s.problem or s.description)
            for s in diagnosis.sensors
        ],
        left=(0, 1, 2),
    )
    console.say()
    console.say(f"squeezerl profile will take energy from: {diagnosis.energy or 'nothing'}")
    for advice in diagnosis.advice:
        console.say(f"- {advice}")


def _host_rows(host: Host) -> list[tuple[str, str]]:
    cores = f"{host.cores} logical, {host.physical_cores or _UNKNOWN} physical"
    virtual = {True: "yes", False: "no", None: _UNKNOWN}[host.virtual_machine]
    return [
        ("processor", host.cpu),
        ("instructions", " ".join(host.cpu_flags) or _UNKNOWN),
        ("cores", f"{cores}, {host.cores_available} for this process"),
        ("governor", host.governor or _UNKNOWN),
        ("virtual machine", virtual),
        ("memory", f"{host.memory_bytes / 2**30:.1f} GiB"),
        ("system", f"{host.system}, kernel {host.kernel}"),
        ("load, last minute", _UNKNOWN if host.load is None else f"{host.load:.2f}"),
        ("Python", host.python),
        ("libraries", ", ".join(f"{k} {v}" for k, v in host.libraries.items())),
    ]


def _describe(diagnosis: Diagnosis) -> dict[str, Any]:
    from squeezerl.records import to_json

    noise = to_json(diagnosis.noise) | {"trouble": diagnosis.noise.trouble}
    host = to_json(diagnosis.host) | {"id": diagnosis.host.id}
    advice = list(diagnosis.advice)
    return {**to_json(diagnosis), "noise": noise, "host": host, "advice": advice}
