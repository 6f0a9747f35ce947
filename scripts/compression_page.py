"""Put the figures of results/compression into docs/what-compression-buys.md.

They stand between two markers: times and the like of figures.json, and returns of returns.json.
`make compression-results` measures and then runs this:

    python scripts/compression_page.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "results" / "compression" / "figures.json"
RETURNS = FIGURES.with_name("returns.json")
PAGE = ROOT / "docs" / "what-compression-buys.md"
START = "<!-- Figures of results/compression, by make compression-results. -->"
END = "<!-- End of the figures. -->"

VARIANTS = {
    "float": "float",
    "int8": "int8",
    "bits4": "4 bits",
    "pruned_int8": "half the neurons, int8",
}
RUNTIMES = {
    "sb3": "Stable-Baselines3's `predict`",
    "torch": "torch module",
    "ort": "ONNX Runtime",
    "native": "native runtime, from Python",
    "c": "the same, inside C",
}
RATIOS = {
    "sb3_float_to_native_float": "leaving `predict` for the native runtime, in float",
    "ort_float_to_native_float": "leaving ONNX Runtime for it, in float",
    "ort_float_to_ort_int8": "int8 instead of float in ONNX Runtime",
    "native_float_to_native_int8": "int8 instead of float in the native runtime, from Python",
    "c_float_to_c_int8": "the same inside C",
    "c_int8_to_c_bits4": "4 bits instead of int8 inside C",
    "c_int8_to_c_pruned_int8": "half the neurons instead of all, in int8 inside C",
    "sb3_float_to_native_int8": "all of the way: from `predict` in float to native int8",
}


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, its columns of text to the left."""
    lines = [header, ["---:" if title else "---" for title in header], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


RETURN_ROWS = {
    "ort": "ONNX Runtime",
    "native": "native runtime",
    "difference": "the difference, paired by seeds",
}


def section(data: dict[str, Any], returns: dict[str, Any]) -> str:
    """All tables of the runs, with what was measured and where."""
    results, level = data["results"], data["level"]
    names = [f"{each['agent']}, {each['shape']}" for each in results]
    host, memory = data["host"], data["memory_bytes"]
    source = data["energy_source"]
    return "\n\n".join(
        [
            START,
            f"Measured on {host['cpu']} ({level}), one thread, batch 1, all in turn in one "
            "process; medians over rounds. Joules: "
            + ("unknown here." if data["energy_estimated"] is None else f"{source}.")
            + " Where there is a dash, that runtime cannot run it.",
            "Microseconds per decision:",
            table(["", "", *VARIANTS.values()], _times(results, names, level)),
            "Ratios of time, each measured side by side (above 1: faster):",
            table(["", *names], _ratios(results)),
            "Microjoules per decision:",
            table(["", "", *VARIANTS.values()], _joules(results, names, level)),
            "On a Cortex-M4, emulated: bytes of flash; instructions per decision (cycles differ):",
            table(["", *VARIANTS.values()], _microcontroller(results, names)),
            f"Memory of a process: Python and NumPy {memory['python_and_numpy'] / 1e6:.1f} MB, "
            f"with a native actor of 17-256-256-6 {memory['with_native_actor'] / 1e6:.1f} MB; a "
            f"plain C program with that policy {memory['c_program'] / 1e6:.1f} MB.",
            f"Returns over {returns['episodes']} episodes with the same seeds in both runtimes, "
            "deterministic actions, mean [95 %]; in parentheses, the share of episodes with the "
            "same return to the bit:",
            table(["", "", *VARIANTS.values()], _returns(returns)),
            END,
        ]
    )


def _digits(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _key(runtime: str, variant: str, level: str) -> str:
    return f"{runtime}.{variant}" + (f".{level}" if runtime == "c" else "")


def _times(results: list[dict[str, Any]], names: list[str], level: str) -> list[list[str]]:
    return _rows(results, names, level, "microseconds", _digits)


def _joules(results: list[dict[str, Any]], names: list[str], level: str) -> list[list[str]]:
    return _rows(results, names, level, "joules", lambda joules: _digits(1e6 * joules))


def _rows(
    results: list[dict[str, Any]], names: list[str], level: str, figure: str, show: Any
) -> list[list[str]]:
    rows = []
    for name, result in zip(names, results, strict=True):
        for number, (runtime, title) in enumerate(RUNTIMES.items()):
            values = [result[figure].get(_key(runtime, each, level)) for each in VARIANTS]
            cells = ["–" if value is None else show(value) for value in values]
            rows.append([name if number == 0 else "", title, *cells])
    return rows


def _ratios(results: list[dict[str, Any]]) -> list[list[str]]:
    return [
        [title, *("–" if (r := each["ratios"][key]) is None else _digits(r) for each in results)]
        for key, title in RATIOS.items()
    ]


def _microcontroller(results: list[dict[str, Any]], names: list[str]) -> list[list[str]]:
    rows = []
    for name, result in zip(names, results, strict=True):
        found = [result["cortex_m4"].get(variant) for variant in VARIANTS]
        rows.append(
            [
                name,
                *(
                    "–" if each is None else f"{each['flash_bytes']:,}; {each['instructions']:,}"
                    for each in found
                ),
            ]
        )
    return rows


def _returns(returns: dict[str, Any]) -> list[list[str]]:
    rows = []
    for result in returns["results"]:
        found = [result["returns"][variant] for variant in VARIANTS]
        for number, (key, title) in enumerate(RETURN_ROWS.items()):
            cells = [_interval(each[key]) for each in found]
            if key == "difference":
                shares = [each["equal_episodes"] / returns["episodes"] for each in found]
                cells = [f"{cell} ({share:.0%})" for cell, share in zip(cells, shares, strict=True)]
            rows.append([result["agent"] if number == 0 else "", title, *cells])
    return rows


def _interval(interval: dict[str, float]) -> str:
    digits = 0 if abs(interval["high"]) >= 1000 else 1
    estimate, low, high = (f"{interval[key]:,.{digits}f}" for key in ("estimate", "low", "high"))
    return f"{estimate} [{low}, {high}]"


def page(text: str, data: dict[str, Any], returns: dict[str, Any]) -> str:
    """The page with the figures of the runs in the place of those that it has."""
    before, rest = text.split(START)
    return before + section(data, returns) + rest.split(END)[1]


def main() -> None:
    """Rewrite the page."""
    data, returns = (json.loads(path.read_text(encoding="utf-8")) for path in (FIGURES, RETURNS))
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), data, returns), encoding="utf-8")


if __name__ == "__main__":
    main()
