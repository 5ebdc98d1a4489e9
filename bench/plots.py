"""Plots of a run, as PNG."""

from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no display

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.contenders import NODE, PRODUCT, STOCK_PUBSUB, WEBSOCKETS
from bench.metering import Row

OURS, OTHERS = "#b3261e", "#7a8794"
COLOURS = {PRODUCT: OURS, STOCK_PUBSUB: OTHERS, WEBSOCKETS: "#3d6fa5", NODE: "#5a9367"}


def bars(axes: Axes, rows: list[Row], names: dict[str, str]) -> None:
    """Draw one bar for each contender and figure. `names`: the label of each figure, by the figure's name."""
    height = 0.8 / len(names)
    for place, (name, called) in enumerate(names.items()):
        for line, row in enumerate(reversed(rows)):
            value = row.figures.get(name, 0.0)
            colour = OURS if row.contender == PRODUCT else OTHERS
            bar = axes.barh(line - place * height, value, height * 0.9, color=colour, alpha=1 - 0.25 * place)
            figure = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
            axes.bar_label(bar, [f"{called} {figure}".strip()], padding=4, fontsize=8)
    axes.set_yticks(
        [line - height * (len(names) - 1) / 2 for line in range(len(rows))],
        [row.contender.replace("`", "") for row in reversed(rows)],
    )
    axes.margins(x=0.25)


def lines(axes: Axes, rows: list[Row], name: str, scale: float) -> None:
    """Draw one line for each contender over the sizes."""
    for contender in dict.fromkeys(row.contender for row in rows):
        own = [row for row in rows if row.contender == contender and name in row.figures]
        sizes, values = [row.size for row in own], [row.figures[name] * scale for row in own]
        axes.plot(sizes, values, marker="o", color=COLOURS[contender], label=contender.replace("`", ""))
    sizes = sorted({row.size for row in rows})
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    if len(axes.lines) > 1:
        axes.legend(fontsize=8, frameon=False)


def rate(axes: Axes, rows: list[Row]) -> str:
    bars(axes, rows, {"rate": ""})
    return "messages a second, each to 10 admins, 99 % within 100 ms"


def burst(axes: Axes, rows: list[Row]) -> str:
    bars(axes, rows, {"delivery_p50": "half in", "delivery_p99": "99 % in"})
    return "milliseconds until messages sent at the same moment are delivered"


def reconnect(axes: Axes, rows: list[Row]) -> str:
    bars(axes, rows, {"seconds": ""})
    return "seconds until all visitors have reconnected"


def idle(axes: Axes, rows: list[Row]) -> str:
    lines(axes, rows, "rss", 1e-6)
    axes.set_xlabel("idle connections")
    axes.set_ylim(bottom=0)
    return "memory of the server, MB"


def admins(axes: Axes, rows: list[Row]) -> str:
    axes.loglog()
    lines(axes, rows, "delivery_cpu", 1)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.minorticks_off()
    axes.set_xlabel("admins")
    return "server CPU per delivery, µs"


def processes(axes: Axes, rows: list[Row]) -> str:
    lines(axes, rows, "rate", 1)
    axes.set_xlabel("processes")
    axes.set_ylim(bottom=0)
    return "messages a second, each to 10 admins, 99 % within 100 ms"


PLOTS: dict[str, Callable[[Axes, list[Row]], str]] = {
    plot.__name__: plot for plot in (rate, burst, reconnect, idle, admins, processes)
}


def file_name(workload: str) -> str:
    return f"bench-{workload}.png"


def draw(rows: list[Row], directory: Path) -> dict[str, str]:
    """Write a plot to `directory` for each workload that has figures. Return the plots' titles, by workload."""
    directory.mkdir(parents=True, exist_ok=True)
    drawn = {}
    for workload, plot in PLOTS.items():
        own = [row for row in rows if row.workload == workload and row.figures]
        if not own:
            continue
        figure = Figure(figsize=(8, 3.2), layout="constrained")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        drawn[workload] = plot(axes, own)
        axes.set_title(drawn[workload], loc="left", fontsize=10)
        figure.savefig(directory / file_name(workload), dpi=120, metadata={"Software": None})
    return drawn
