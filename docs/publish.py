"""The report of depth_sweep in; its main figure below docs/figures and its table in README.md out.

    python docs/publish.py [REPORT]

REPORT is the folder that `orch report depth_sweep` wrote, results/sweeps/depth_sweep/report by default. The table is
made from the CSV that is kept beside the figure, so README, figure and numbers cannot come apart.
"""

from __future__ import annotations

import csv
import shutil
import sys
from pathlib import Path

DOCS = Path(__file__).parent
README = DOCS.parent / "README.md"
FIGURE = "accuracy_vs_depth"
REPORT = Path("results/sweeps/depth_sweep/report")

BEGIN = "<!-- docs/publish.py writes from here -->\n"
END = "<!-- to here -->\n"
IMAGE = f"![Test accuracy against depth for each attention](docs/figures/{FIGURE}.svg)"


def make_section(csv_text: str) -> str:
    """The figure, its caption and its table: a row a depth, a column a curve."""
    rows = [row for row in csv.DictReader(csv_text.splitlines()) if row["kind"] == "mean"]
    curves = list(dict.fromkeys(row["curve"] for row in rows))
    depths = sorted({int(row["depth"]) for row in rows})
    cells = {(int(row["depth"]), row["curve"]): _cell(row) for row in rows}
    lines = [f"| blocks | {' | '.join(curves)} |", "|---" * (len(curves) + 1) + "|"]
    lines += [f"| {depth} | {' | '.join(cells.get((depth, curve), '') for curve in curves)} |" for depth in depths]
    about = "Test accuracy in percent on the bundled digits"
    caption = f"{about}: mean over {_seeds(rows)}, 95 % interval over seeds and images."
    return "\n".join([IMAGE, "", caption, "", *lines, ""])


def put_section(page: str, section: str) -> str:
    """The page with `section` between the two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{section}{END}{after}"


def _cell(row: dict[str, str]) -> str:
    mean = f"{float(row['acc_percent']):.1f}"
    return (
        f"{mean} ({float(row['low_percent']):.1f} to {float(row['high_percent']):.1f})" if row["low_percent"] else mean
    )


def _seeds(rows: list[dict[str, str]]) -> str:
    counts = sorted({int(row["n"]) for row in rows})
    if counts == [1]:
        return "a single seed"
    return f"{counts[0]} seeds" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"


def main(report: Path) -> None:
    """Copy the figure and its numbers, and bring README.md up to date."""
    (DOCS / "figures").mkdir(exist_ok=True)
    for suffix in ("svg", "csv"):
        shutil.copyfile(report / "figures" / f"{FIGURE}.{suffix}", DOCS / "figures" / f"{FIGURE}.{suffix}")
    section = make_section((DOCS / "figures" / f"{FIGURE}.csv").read_text())
    README.write_text(put_section(README.read_text(), section))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else REPORT)
