"""Sphinx extension: tables of what was measured, from the files that the measurements wrote.

`{timings} FILE` shows what `make notebooks` measured, `{sweep} FILE` what `tools/sweep.py` did.
"""

import json
from operator import itemgetter
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective


class MeasuredTable(SphinxDirective):
    """Reads a JSON file beside the page and shows what `lines` makes of it; `made_by` says how to make it."""

    required_arguments = 1

    def run(self):
        relative, path = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(relative)
        if not Path(path).exists():
            raise self.error(f"{relative} is missing: `{self.made_by}` writes it")
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        box = nodes.container()
        self.state.nested_parse(StringList(self.lines(record), relative), self.content_offset, box)
        return box.children


class Timings(MeasuredTable):
    made_by = "make notebooks"

    def lines(self, record):
        return timings_table(record)


class Sweep(MeasuredTable):
    made_by = "tools/sweep.py"

    def lines(self, record):
        return sweep_table(record)


def timings_table(record: dict) -> list[str]:
    """The record as Markdown: a sentence on the machine, and a row for each notebook."""

    def share(value, budget):
        return f"{100 * value / budget:.0f}%" + (" (over)" if value > budget else "")

    machine = record["machine"]
    lines = [
        f"Measured on {machine['cores']} cores, with Python {machine['python']} and "
        f"PyTorch {machine['torch']}.",
        "",
        "| chapter | minutes | share of the budget | peak memory (MB) | share of the budget |",
        "| :-- | --: | --: | --: | --: |",
    ]
    for name, entry in record["notebooks"].items():
        lines.append(
            f"| {{doc}}`/notebooks/{name}` | {entry['seconds'] / 60:.1f} "
            f"| {share(entry['seconds'], entry['budget_seconds'])} of {entry['budget_seconds']} s "
            f"| {entry['peak_mb']:,} "
            f"| {share(entry['peak_mb'], entry['budget_mb'])} of {entry['budget_mb']:,} MB |"
        )
    seconds = sum(entry["seconds"] for entry in record["notebooks"].values())
    lines.append(f"| all | {seconds / 60:.1f} | | | |")
    return lines


def sweep_table(rows: list[dict]) -> list[str]:
    """Rows of one preset, one budget and one machine together, the one that learned most first."""
    lines = []
    key = itemgetter("preset", "preset_games", "machine")
    for preset, n_games, machine in sorted({key(row) for row in rows}):
        group = [row for row in rows if key(row) == (preset, n_games, machine)]
        lines += [
            f"**`{preset}`**: the time of {n_games:,} games ({machine}).",
            "",
            "| what is changed | relative speed | games | excess loss | likeliest move legal | legal mass |",
            "| :-- | --: | --: | --: | --: | --: |",
        ]
        for row in sorted(group, key=lambda row: row["excess_loss"]):
            lines.append(
                f"| {row['change']} | {row['relative_speed']:.2f} | {row['games']:,} "
                f"| {row['excess_loss']:.3f} "
                f"| {row['legal_rate']:.1%} | {row['legal_mass']:.1%} |"
            )
        lines.append("")
    return lines


def setup(app):
    app.add_directive("timings", Timings)
    app.add_directive("sweep", Sweep)
    return {"parallel_read_safe": True}
