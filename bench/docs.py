"""Writing a run into docs/performance.md, between two marks, and its plots into docs/images."""

from collections.abc import Mapping

from bench import plots
from bench.report import Run, markdown
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "performance.md"
IMAGES = ROOT / "docs" / "images"
BEGIN, END = "<!-- figures: written by `python -m bench --docs` -->", "<!-- end of figures -->"


def write(run: Run) -> None:
    drawn = plots.draw(run.rows, IMAGES)
    PAGE.write_text(replaced(PAGE.read_text(), markdown(run, lambda workload: shown(workload, drawn))))


def shown(workload: str, drawn: Mapping[str, str]) -> str:
    """Return the Markdown of the picture of `workload`, with its alternative text; empty if it was not `drawn`."""
    return f"![{drawn[workload]}](images/{plots.file_name(workload)})" if workload in drawn else ""


def replaced(page: str, figures: str) -> str:
    """Return `page` with `figures` between the marks. Raise ValueError if a mark is missing."""
    before, _, rest = page.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"{PAGE.name} needs the lines `{BEGIN}` and `{END}`")
    return f"{before}{BEGIN}\n{figures}{END}{after}"
