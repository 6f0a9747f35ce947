"""What the study's figures share: styles, legends, and grids with one panel for each agent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from squeezerl.records import MethodRecord
from squeezerl.report.text import algorithm_label

Panel = tuple[str, str, str]  # agent, algorithm, env_id
Methods = Mapping[str, MethodRecord]


class Styled(Protocol):
    """What has a place in a legend: a method's record, or a `Style`."""

    @property
    def label(self) -> str: ...  # noqa: D102
    @property
    def color(self) -> str: ...  # noqa: D102
    @property
    def marker(self) -> str: ...  # noqa: D102
    @property
    def dash(self) -> str: ...  # noqa: D102


class Style(NamedTuple):
    """Label, colour, marker and dash of what is not a method."""

    label: str
    color: str
    marker: str
    dash: str = "-"


QUANTITIES = {
    "time": Style("inference time", "#0072B2", "o"),
    "energy": Style("energy", "#D55E00", "s"),
    "memory": Style("memory", "#009E73", "^"),
}
UNTRAINED_COLOR = "#8a8a8a"
_COLUMNS = 5
_SETTINGS = {
    "svg.hashsalt": "squeezerl",  # the same names inside every time
    "font.size": 8.0,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.edgecolor": "0.4",
    "axes.axisbelow": True,
    "legend.fontsize": 8.5,
    "errorbar.capsize": 0.0,
}


@contextmanager
def study_style() -> Iterator[None]:
    """Draw with the settings that all of the study's figures share."""
    import matplotlib as mpl

    with mpl.rc_context(_SETTINGS):
        yield


def ordered(names: Iterable[str], methods: Methods) -> list[str]:
    """The methods among these names, in the order of the records."""
    found = set(names)
    return [name for name in methods if name in found]


def handle(style: Styled, *, line: bool = True, marker: bool = True) -> Any:
    """The entry of a legend for a style."""
    from matplotlib.lines import Line2D

    return Line2D(
        [], [], color=style.color, marker=style.marker if marker else "", markersize=5,
        linestyle=style.dash if line else "none", linewidth=1.4, label=style.label,
    )  # fmt: skip


def rule_handle(label: str, dash: str = "--") -> Any:
    """The entry of a legend for a grey reference line."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color="0.3", linestyle=dash, linewidth=1.0, label=label)


class PanelGrid:
    """A figure with one panel for each agent: environments by algorithms where they fill a grid.

    Sizes are set here, in inches, rather than found by a layout engine, which takes seconds for
    25 panels.

    Args:
        panels: agents in order.
        title: of the whole figure.
        x, y: labels of the axes.
        share_y: whether all panels have one scale.
        handles: of the legend, in one line below the title.
    """

    def __init__(
        self,
        panels: Sequence[Panel],
        *,
        title: str,
        x: str,
        y: str,
        handles: Sequence[Any],
        share_y: bool = True,
    ) -> None:
        from squeezerl.analysis.figure_data import grid_shape  # loads pandas, which is an extra

        shape = grid_shape(panels)
        columns = len(shape[1]) if shape else min(_COLUMNS, len(panels))
        rows = len(shape[0]) if shape else -(-len(panels) // columns)
        width, height = (4.6, 3.0) if len(panels) == 1 else (2.0, 1.45)
        self.figure, grid = panel_figure(
            [width] * columns, height, rows=rows, title=title, handles=handles,
            gaps=(0.16 if share_y else 0.5, 0.38), share_x=True, share_y=share_y,
        )  # fmt: skip
        places: dict[tuple[int, int], Panel] = {}
        for number, panel in enumerate(panels):
            at = divmod(number, columns)
            if shape:
                at = (shape[0].index(panel[2]), shape[1].index(panel[1]))
            places[at] = panel
        self.axes: dict[str, Any] = {}
        names = [(algorithm, env_id) for _, algorithm, env_id in panels]
        for at in ((row, column) for row in range(rows) for column in range(columns)):
            axes = grid[at]
            if at not in places:
                axes.set_visible(False)
                continue
            agent, algorithm, env_id = places[at]
            own = names.count((algorithm, env_id)) == 1
            axes.set_title(
                f"{algorithm_label(algorithm)} · {env_id}" if own else agent, loc="left", pad=3
            )
            below, before = (at[0] + 1, at[1]), (at[0], at[1] - 1)
            axes.tick_params(
                labelbottom=below not in places, labelleft=before not in places or not share_y
            )
            self.axes[agent] = axes
        total_width, total_height = self.figure.get_size_inches()
        self.figure.supxlabel(x, fontsize=9, y=0.1 / total_height)
        spec = grid[0, 0].get_gridspec()
        middle = (spec.bottom + spec.top) / 2
        self.figure.supylabel(y, fontsize=9, x=0.1 / total_width, y=middle)


def heading_width(title: str, handles: Sequence[Any]) -> float:
    """Inches that the title and the legend need."""
    legend = sum(0.55 + 0.075 * len(handle.get_label()) for handle in handles)
    return max(0.3 + 0.1 * len(title), 0.2 + legend)


def heading(figure: Any, title: str, handles: Sequence[Any]) -> None:
    """The title and, below it, the legend in one line."""
    width, height = figure.get_size_inches()
    figure.text(0.12 / width, 1 - 0.12 / height, title, va="top", fontsize=11, weight="bold")
    figure.legend(
        handles=list(handles), loc="upper left", bbox_to_anchor=(0.08 / width, 1 - 0.36 / height),
        ncols=len(handles), frameon=False, borderaxespad=0.1, handletextpad=0.5, columnspacing=1.4,
    )  # fmt: skip


def panel_figure(
    widths: Sequence[float],
    height: float,
    *,
    rows: int = 1,
    title: str,
    handles: Sequence[Any],
    margins: tuple[float, float, float, float] = (0.75, 0.15, 0.82, 0.55),
    gaps: tuple[float, float] = (0.2, 0.0),
    share_x: bool = False,
    share_y: bool | Literal["row"] = True,
) -> tuple[Any, Any]:
    """A figure with rows of panels below a title and a legend, and the array of its axes.

    Panels get wider where the title or the legend needs more room.

    Args:
        widths: of the panels of each row, in inches, as all sizes here.
        height: of each panel.
        rows: how many there are.
        title: of the figure.
        handles: of the legend.
        margins: left, right, top and bottom.
        gaps: between columns and between rows.
        share_x: whether all panels have one scale of x.
        share_y: whether all panels have one scale of y, or those of a "row".
    """
    from matplotlib.figure import Figure

    left, right, top, bottom = margins
    fixed = left + right + (len(widths) - 1) * gaps[0]
    total_width = max(fixed + sum(widths), heading_width(title, handles))
    total_height = top + bottom + rows * height + (rows - 1) * gaps[1]
    figure = Figure(figsize=(total_width, total_height), dpi=150)
    grid = figure.subplots(
        rows, len(widths), sharex=share_x, sharey=share_y, squeeze=False,
        gridspec_kw={
            "width_ratios": widths,
            "left": left / total_width, "right": 1 - right / total_width,
            "top": 1 - top / total_height, "bottom": bottom / total_height,
            "wspace": gaps[0] * len(widths) / (total_width - fixed), "hspace": gaps[1] / height,
        },
    )  # fmt: skip
    for axes in grid.flat:
        axes.grid(visible=True, color="0.92", linewidth=0.6)
        axes.tick_params(length=2, color="0.4")
    heading(figure, title, handles)
    return figure, grid


def mark_untrained(axes: Any) -> None:
    """Grey ground and words, so that nobody takes the cell for a result."""
    axes.set_facecolor("#f3f3f3")
    axes.text(
        0.5, 0.5, "the baseline is\nuntrained", transform=axes.transAxes, ha="center", va="center",
        fontsize=7.5, color="0.35", style="italic", zorder=10,
        bbox={"facecolor": "#f3f3f3", "edgecolor": "none", "alpha": 0.85, "pad": 2},
    )  # fmt: skip


def note_untrained(axes: Any, *, top: bool) -> None:
    """Grey ground and a word in a corner: the cell has results, but not about returns."""
    axes.set_facecolor("#f3f3f3")
    axes.text(
        0.98, 0.95 if top else 0.04, "untrained", transform=axes.transAxes, ha="right",
        va="top" if top else "bottom", fontsize=7, style="italic", color="0.35",
    )  # fmt: skip


def save(figure: Any, folder: Path, name: str) -> tuple[Path, Path]:
    """Write the picture as PNG and SVG, without a date: the same data give the same files."""
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    with study_style():  # the salt of the names counts here
        figure.savefig(png, dpi=150, facecolor="white")
        figure.savefig(svg, metadata={"Date": None}, facecolor="white")
    return png, svg
