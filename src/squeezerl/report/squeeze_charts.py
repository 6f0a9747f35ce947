"""The charts of a squeeze: what was tried, where bytes went, latency, returns and actions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from squeezerl.artifacts.manifest import Manifest
from squeezerl.methods.recipe import Recipe
from squeezerl.pipeline.replay import Film
from squeezerl.records import EvaluationRecord, Interval, LayerRecord
from squeezerl.report.chart import Axis, Bar, Chart, Line, Mark
from squeezerl.report.panels import Style, Styled
from squeezerl.report.text import (
    format_interval,
    format_si,
    format_si_interval,
    return_interval,
)
from squeezerl.search.candidates import BASELINE
from squeezerl.search.result import SqueezeResult, Trial

ORIGINAL, SQUEEZED = Style("original", "#000000", "o"), Style("squeezed", "#0072B2", "D")
_RUNTIMES = (
    Style("", "#0072B2", "o"),
    Style("", "#D55E00", "s"),
    Style("", "#009E73", "^"),
    Style("", "#CC79A7", "D"),
)
_FAMILIES = (("#56B4E9", "X"), ("#E69F00", "v"), ("#CC79A7", "P"), ("#D55E00", "h"))
_ROW = 46  # pixels of a row of categories
_FRAME = 84  # pixels around the rows
_MOST_ROWS = 20
_BINS = 50


def pareto_chart(result: SqueezeResult, measured: Mapping[str, Any] | None) -> Chart:
    """Retention against bytes, with the front; `measured` is what `measured_json` gives."""
    latencies = latency_texts(measured)
    families: dict[str, Styled] = {}
    found = (_trial_mark(trial, result, latencies, families) for trial in result.trials)
    marks = [_baseline_mark(result, latencies), *(mark for mark in found if mark)]
    by_name = {trial.candidate: trial for trial in result.trials}
    front = tuple(
        (float(trial.size.weight_bytes), trial.judgement.retention.normalized.estimate)
        for candidate in result.front
        for trial in [by_name[candidate]]
        if trial.size and trial.judgement and trial.judgement.retention.normalized
    )
    x = Axis.over((mark.x for mark in marks), "bytes of the policy", log=True)
    spans = [end for mark in marks for end in mark.y_span or (mark.y,)]
    y = Axis.over([*spans, result.retain, 0.0], "return kept")
    asked = ((x.low, result.retain), (x.high, result.retain))
    return Chart(
        x=x,
        y=y.with_texts([f"{value:.0%}" for value, _ in y.ticks]),
        marks=tuple(marks),
        lines=(
            Line(points=asked, label=f"asked for: {result.retain:.0%}", dashed=True),
            *([Line(points=front, label="front: none is smaller and better")] if front else ()),
        ),
        height=400,
    )


def _baseline_mark(result: SqueezeResult, latencies: Mapping[str, str]) -> Mark:
    size = result.baseline_size.weight_bytes
    tip = _tip("original (float)", f"{size:,} bytes", "100 % by definition", latencies.get("float"))
    style = Style("original", BASELINE.recipe.record.color, BASELINE.recipe.record.marker)
    return Mark(x=size, y=1.0, style=style, tip=tip, stands_out=True)


def _trial_mark(
    trial: Trial,
    result: SqueezeResult,
    latencies: Mapping[str, str],
    families: dict[str, Styled],
) -> Mark | None:
    """`None` for a candidate without a retention."""
    if trial.judgement is None or trial.size is None:
        return None
    retention = trial.judgement.retention
    kept = retention.normalized
    if kept is None:
        return None
    chosen = trial.candidate == result.chosen
    tip = _tip(
        trial.name + (", chosen" if chosen else ""),
        f"{trial.size.weight_bytes:,} bytes",
        f"keeps {format_interval(kept)} over {retention.episodes} episodes: {retention.verdict}",
        latencies.get(trial.name),
    )
    return Mark(
        x=trial.size.weight_bytes, y=kept.estimate, y_span=(kept.low, kept.high), tip=tip,
        style=_family(trial.recipe, families),
        stands_out=chosen, label=trial.name if chosen else "",
    )  # fmt: skip


def _family(recipe: Recipe, known: dict[str, Styled]) -> Styled:
    """How a legend shows a recipe: a squeeze tries dozens of long ones that begin alike."""
    if len(recipe.steps) <= 2:
        return recipe.record
    label = f"{recipe.steps[0].record.label}, then more steps"
    color, marker = _FAMILIES[len(known) % len(_FAMILIES)]
    return known.setdefault(label, Style(label, color, marker))


def latency_texts(measured: Mapping[str, Any] | None) -> dict[str, str]:
    """The latency of each candidate that was measured, in each runtime, as a line."""
    found: dict[str, list[str]] = {}
    for row in measured["rows"] if measured else ():
        if row["latency_s"] is not None:
            text = f"{format_si(row['latency_s']['median'], 's')} in {row['runtime']}"
            found.setdefault(row["artifact"], []).append(text)
    return {name: f"a decision: {', '.join(texts)}" for name, texts in found.items()}


def _tip(*lines: str | None) -> str:
    return "\n".join(line for line in lines if line)


def layers_chart(manifest: Manifest, result: SqueezeResult) -> Chart:
    """The bytes of each layer before and after, and of what is not a layer."""
    after = next(t.size for t in result.trials if t.candidate == result.chosen)
    assert after is not None
    rows: list[tuple[str, list[tuple[int, str, Styled]]]] = []
    pairs = max(len(manifest.layers_before), len(manifest.layers))
    for number in range(pairs):
        bars: list[tuple[int, str, Styled]] = []
        names = []
        for layers, style in ((manifest.layers_before, ORIGINAL), (manifest.layers, SQUEEZED)):
            if number < len(layers):
                layer = layers[number]
                names.append(_shape(layer))
                bars.append((layer.total_bytes, _layer_tip(layer, style), style))
        rows.append((f"layer {number + 1}: {' → '.join(dict.fromkeys(names))}", bars))
    for part in ("normalizer_bytes", "layout_bytes"):
        before_bytes, after_bytes = getattr(result.baseline_size, part), getattr(after, part)
        name = {"normalizer_bytes": "observation normaliser", "layout_bytes": "layout"}[part]
        if before_bytes or after_bytes:
            rows.append((name, [
                (before_bytes, f"{name}, original: {before_bytes:,} bytes", ORIGINAL),
                (after_bytes, f"{name}, squeezed: {after_bytes:,} bytes", SQUEEZED),
            ]))  # fmt: skip
    bars_ = tuple(
        Bar(
            start=0, end=count, row=number + (0.03 if style is ORIGINAL else 0.24), style=style,
            tip=tip, height=0.18,
        )
        for number, (_, bars) in enumerate(rows)
        for count, tip, style in bars
    )  # fmt: skip
    x = Axis.over([0.0, *(bar.end for bar in bars_)], "bytes")
    x = Axis(label=x.label, low=0.0, high=x.high, ticks=tuple(t for t in x.ticks if t[0] >= 0))
    return Chart(
        x=x, y=Axis.of([name for name, _ in rows]), bars=bars_, height=_FRAME + 52 * len(rows)
    )


def _shape(layer: LayerRecord) -> str:
    return f"{layer.in_features} × {layer.out_features} {layer.weight_dtype}"


def _layer_tip(layer: LayerRecord, style: Style) -> str:
    return (
        f"{layer.name}, {style.label}: {layer.total_bytes:,} bytes\n"
        f"weights {layer.weight_bytes:,}, biases {layer.bias_bytes:,}, scales "
        f"{layer.quantization_bytes:,}"
    )


def latency_chart(measured: Mapping[str, Any]) -> Chart | None:
    """The latency of each policy in each runtime; `None` if none was measured."""
    rows = [row for row in measured["rows"] if row["latency_s"] is not None]
    if not rows:
        return None
    names = list(dict.fromkeys(row["artifact"] for row in rows))
    runtimes = list(dict.fromkeys(row["runtime"] for row in rows))
    styles = {
        runtime: _RUNTIMES[number % len(_RUNTIMES)]._replace(label=runtime)
        for number, runtime in enumerate(runtimes)
    }
    marks = []
    for row in rows:
        latency = row["latency_s"]
        interval = Interval(
            estimate=latency["median"], low=latency["ci95"][0], high=latency["ci95"][1]
        )
        energy = row["energy_j_per_decision"]
        joules = None if energy is None else (
            f"{format_si(energy['mean'], 'J')} a decision"
            + (" (estimate)" if row["energy_estimated"] else "")
        )  # fmt: skip
        tip = _tip(
            f"{row['artifact']} in {row['runtime']}",
            f"median {format_si_interval(interval, 's')}",
            f"p99 {format_si(latency['p99'], 's')}",
            joules,
        )
        marks.append(
            Mark(
                x=1e6 * interval.estimate,
                y=names.index(row["artifact"]),
                x_span=(1e6 * interval.low, 1e6 * interval.high),
                style=styles[row["runtime"]],
                tip=tip,
            )
        )
    return Chart(
        x=Axis.over(
            (end for mark in marks for end in mark.x_span or ()), "µs for a decision", log=True
        ),
        y=Axis.of(names),
        marks=tuple(marks),
        height=_FRAME + _ROW * len(names),
    )


def returns_chart(original: EvaluationRecord, squeezed: EvaluationRecord) -> Chart:
    """The return of each episode, joined where the seed is the same, and both means."""
    marks, lines = [], []
    pairs = list(zip(original.episodes, squeezed.episodes, strict=False))
    rng = np.random.default_rng(original.seed)
    shifts = rng.uniform(-0.13, 0.13, len(pairs))
    for shift, (one, other) in zip(shifts, pairs, strict=True):
        tip = (
            f"seed {one.seed}\noriginal {one.return_:,.1f}\nsqueezed {other.return_:,.1f}\n"
            f"difference {other.return_ - one.return_:+,.1f}"
        )
        lines.append(Line(points=((one.return_, shift), (other.return_, 1 + shift)), faint=True))
        for row, episode, style in ((0, one, ORIGINAL), (1, other, SQUEEZED)):
            marks.append(Mark(x=episode.return_, y=row + shift, style=style, tip=tip, faint=True))
    for row, record, style in ((0, original, ORIGINAL), (1, squeezed, SQUEEZED)):
        mean = return_interval(record)
        if mean is not None:
            marks.append(
                Mark(
                    x=mean.estimate, y=row, x_span=(mean.low, mean.high), stands_out=True,
                    style=Style(f"{style.label}, mean", style.color, "|"),
                    tip=f"{style.label}: mean {mean.estimate:,.1f}\n"
                    f"95 % interval [{mean.low:,.1f}, {mean.high:,.1f}]",
                )
            )  # fmt: skip
    return Chart(
        x=Axis.over((mark.x for mark in marks), "return of an episode"),
        y=Axis.of(["original", "squeezed"]),
        marks=tuple(marks),
        lines=tuple(lines),
        height=_FRAME + 2 * 95,
    )


def deviation_chart(film: Film, discrete: bool) -> Chart:
    """How far the actions are from the original's, by dimension and over the episode."""
    assert film.deviation is not None
    deviation = film.deviation[:, :_MOST_ROWS]
    parts = [p for p in np.array_split(deviation, min(_BINS, len(deviation))) if len(p)]
    means = np.array([part.mean(axis=0) for part in parts])
    most = max(float(means.max()), 1e-9)
    ends = np.cumsum([0, *(len(part) for part in parts)])
    unit = "of the actions differ" if discrete else "half ranges"
    style = Style("deviation", "#0072B2", "s")

    def amount(value: float) -> str:
        return f"{value:.0%} {unit}" if discrete else f"{value:.3f} {unit}"

    bars = tuple(
        Bar(
            start=int(ends[part]), end=int(ends[part + 1]), row=row, style=style, height=0.5,
            strength=float(means[part, row]) / most,
            tip=f"action {row}, steps {ends[part] + 1} to {ends[part + 1]}\n"
            + amount(means[part, row]),
        )
        for row in range(deviation.shape[1])
        for part in range(len(parts))
    )  # fmt: skip
    x = Axis.over([0.0, float(len(deviation))], "step of the episode")
    ticks = tuple(tick for tick in x.ticks if 0 <= tick[0] <= len(deviation))
    names = [
        f"action {row}, {amount(float(deviation[:, row].mean()))} on average"
        for row in range(deviation.shape[1])
    ]
    return Chart(
        x=Axis(label=x.label, low=0.0, high=float(len(deviation)), ticks=ticks),
        y=Axis.of(names),
        bars=bars,
        height=_FRAME + _ROW * deviation.shape[1],
    )
