"""Sphinx extension: tables of what was measured, from the files that the measurements wrote.

`{timings} FILE` shows what `make notebooks` measured, `{sweep} FILE` what `tools/sweep.py` did. `{networks}
FOLDER`, with names under it, shows the cards of these models. Of what `othello-edu reproduce` found, with
runs by both protocols in a folder for each model: `{paper} FOLDER` shows the claims of the paper beside it,
and `{paper_features} FOLDER` the tables of single features; `{paper_networks} FOLDER PROTOCOL`, with names
of models under it, the verdicts on each of them. `{arms} FILE` shows what `tools/compare_arms.py` found out
about two ways of teaching, and `{arms_claims} FILE` which verdicts they change. Folders are relative to the
repository.
"""

import json
from collections import Counter
from operator import itemgetter
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from othello_edu.pretrained import TEACHERS, as_code, as_text, taught_by, trainings
from othello_edu.reproduction.claims import over_models
from othello_edu.reproduction.paper import BEST_AUROC
from othello_edu.reproduction.protocol import LAST_CLAIMED
from othello_edu.reproduction.results import by_stage


class MeasuredTable(SphinxDirective):
    """Reads JSON files and shows what `lines` makes of them; `made_by` says how to make a missing one."""

    required_arguments = 1

    def run(self):
        box = nodes.container()
        lines = StringList(self.lines(self.record()), self.arguments[0])
        self.state.nested_parse(lines, self.content_offset, box)
        return box.children

    def record(self):
        """The one file that the directive names, relative to the page."""
        return self.read(self.arguments[0])

    def read(self, name):
        relative, path = self.env.relfn2path(name)
        self.env.note_dependency(relative)
        if not Path(path).exists():
            raise self.error(f"{relative} is missing: `{self.made_by}` writes it")
        return json.loads(Path(path).read_text(encoding="utf-8"))


class Timings(MeasuredTable):
    made_by = "make notebooks"

    def lines(self, record):
        return timings_table(record)


class Sweep(MeasuredTable):
    made_by = "tools/sweep.py"

    def lines(self, record):
        return sweep_table(record)


class Networks(MeasuredTable):
    made_by = "othello-edu export"
    has_content = True

    def record(self):
        return {name: self.read(f"/{self.arguments[0]}/{name}/card.json") for name in self.content}

    def lines(self, cards):
        return networks_table(cards)


class Paper(MeasuredTable):
    made_by = "othello-edu reproduce"

    def record(self):
        protocols = ("published", "corrected")
        return {name: self.read(f"/{self.arguments[0]}/{name}/results.json") for name in protocols}

    def lines(self, runs):
        return paper_table(runs)


class PaperFeatures(Paper):
    def lines(self, runs):
        return [*trace_table(runs["published"]), "", *pairs_table(runs)]


class PaperNetworks(MeasuredTable):
    made_by = "othello-edu reproduce"
    required_arguments = 2
    has_content = True

    def record(self):
        folder, protocol = self.arguments
        return [self.read(f"/{folder}/{name}/{protocol}/results.json") for name in self.content]

    def lines(self, runs):
        return verdicts_table(runs)


class Arms(MeasuredTable):
    made_by = "tools/compare_arms.py"

    def lines(self, record):
        return arms_table(record)


class ArmsClaims(Arms):
    def lines(self, record):
        return arms_claims_table(record)


def paper_table(runs: dict[str, dict]) -> list[str]:
    """A row for each claim, {protocol: results}: the verdict of each protocol with its numbers.

    Below it the thresholds, which the verdicts follow.
    """
    names = list(runs)
    lines = [
        "| where | the paper says | " + " | ".join(names) + " |",
        "| :-- | :-- | " + " | ".join(":--" for _ in names) + " |",
    ]
    thresholds = ["", ":::{dropdown} When does a claim count as reproduced?"]
    for claims in zip(*(runs[name]["claims"] for name in names), strict=True):
        cells = []
        for claim in claims:
            numbers = "; ".join(f"{name}: {_number(value)}" for name, value in claim["numbers"].items())
            cells.append(f"**{claim['verdict']}**" + (f"<br>{numbers}" if numbers else ""))
        first = claims[0]
        lines.append(f"| {first['source']} | {first['says']} | " + " | ".join(cells) + " |")
        thresholds.append(f"- {first['source']}, “{first['says']}” — {first['threshold']}.")
    return [*lines, *thresholds, ":::"]


def verdicts_table(runs: list[dict]) -> list[str]:
    """A row for each claim: the verdict on each of several networks by one protocol, and the one on GPTs."""
    names = [f"`{run['model']}`" for run in runs]
    lines = [
        "| where | the paper says | " + " | ".join(names) + " | GPTs |",
        "| :-- | :-- | " + " | ".join(":--" for _ in names) + " | :-- |",
    ]
    for claim in over_models(runs):
        verdicts = " | ".join(claim["verdicts"])
        lines.append(f"| {claim['source']} | {claim['says']} | {verdicts} | **{claim['verdict']}** |")
    return lines


def trace_table(results: dict) -> list[str]:
    """Tables 1 and 2: the feature with most tiles above the threshold in a stage that the paper's claims are
    about, of two SAE seeds, at every stage. Only where all stages begin with the same matrix does a feature's
    number mean anything across them.
    """
    stages = by_stage(results["results"], "features")
    lines = [
        "| where | feature | stage " + " | ".join(map(str, stages)) + " |",
        "| :-- | --: | " + " | ".join("--:" for _ in stages) + " |",
    ]
    for seed, table in enumerate(("Table 1", "Table 2")):
        found = {
            stage: {entry["feature"]: entry for entry in part["stability"]["features"][seed]}
            for stage, part in stages.items()
        }
        claimed = [entries for stage, entries in found.items() if 1 <= stage <= LAST_CLAIMED]
        every = [entry for entries in claimed for entry in entries.values()]
        if not every:
            lines.append(f"| {table} | none |" + " |" * len(stages))
            continue
        chosen = max(every, key=itemgetter("tiles"))["feature"]
        cells = []
        for entries in found.values():
            entry = entries.get(chosen)
            cells.append(f"{entry['tiles']} ({entry['correlation_with_ply']:.2f})" if entry else "0")
        lines.append(f"| {table} | {chosen} | " + " | ".join(cells) + " |")
    return lines


def pairs_table(runs: dict[str, dict], n: int = 3) -> list[str]:
    """Tables 3 to 7: the best (feature, tile) pairs of the first SAE seed, as feature, tile, AUROC and F1."""
    lines = [
        "| where | stage | the paper's best | " + " | ".join(runs) + " |",
        "| :-- | --: | --: | " + " | ".join(":--" for _ in runs) + " |",
    ]
    for table, (stage, paper) in BEST_AUROC.items():
        cells = []
        for results in runs.values():
            pairs = results["results"][f"features/{stage}"]["stability"]["pairs"][0][:n]
            cells.append(
                "<br>".join(f"{p['feature']} {p['tile']} {p['auroc']:.3f}, {p['f1']:.2f}" for p in pairs)
            )
        lines.append(f"| {table} | {stage} | {paper:.3f} | " + " | ".join(cells) + " |")
    return lines


def _number(value) -> str:
    if value is None:
        return "none"
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.3f}" if abs(value) < 2 else f"{value:.1f}"
    return f"{value:g}"


def networks_table(cards: dict[str, dict]) -> list[str]:
    """A row for each model, how good it became; below the table, how it was made."""
    lines = [
        "| name | shape | taught by | games | excess loss | likeliest move legal | legal mass "
        "| calibration |",
        "| :-- | :-- | :-- | --: | --: | --: | --: | --: |",
    ]
    made = [""]
    for name, card in cards.items():
        measured, model = card["measured"], card["model"]
        teachers = ", then ".join(BRIEFLY[teacher] for teacher in taught_by(card))
        lines.append(
            f"| {as_code(name)} | {model['n_layer']:d}×{model['d_model']:d} | {teachers} "
            f"| {card['games_read']:,} "
            f"| {measured['excess_loss']:.3f} "
            f"| {measured['legal_rate']:.2%} | {measured['legal_mass']:.1%} "
            f"| {measured['calibration']['error']:.3f} |"
        )
        steps = "; then ".join(
            f"{_minutes(step['seconds'])} on {as_text(step['device'])}" for step in trainings(card)
        )
        made.append(f"- {as_code(name)}: seed {card['training']['seed']:d}; {steps}.")
    return lines + made


def _minutes(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes} minute" + "s" * (minutes != 1)


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
    """Rows of one preset, teacher, budget and machine together, the one that learned most first."""
    lines = []
    key = itemgetter("preset", "targets", "preset_games", "machine")
    for preset, targets, n_games, machine in sorted({key(row) for row in rows}):
        group = [row for row in rows if key(row) == (preset, targets, n_games, machine)]
        lines += [
            f"**`{preset}`**, taught by {TEACHERS[targets]}: the time of {n_games:,} games ({machine}).",
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


BRIEFLY = {"move": "drawn move", "legal": "all legal moves"}  # as a table has room for it


def arms_table(record: dict) -> list[str]:
    """A row for each measure: both arms, their difference, what seeds do, and what comes of it."""
    names = [BRIEFLY[arm] for arm in record["arms"]]
    lines = [
        f"| measure | so | {' | '.join(names)} | difference | of seeds | found from | matters from |",
        "| :-- | :-- | --: | --: | --: | --: | --: | --: |",
    ]
    for name, row in record["compared"].items():
        cells = [_curve(mean) for mean in row["means"]]
        if name == "readings":  # of pairs
            cells = [f"{cells[0]} (within an arm)", f"{cells[1]} (across)"]
        sizes = [f"{row[key]:.3f}" for key in ("difference", "spread", "found_from", "matters")]
        lines.append(f"| {row['says']} | **{row['outcome']}** | {' | '.join([*cells, *sizes])} |")
    return lines


def _curve(values: list[float]) -> str:
    """A number, or from the lowest of a curve to its highest."""
    return f"{values[0]:.3f}" if len(values) == 1 else f"{min(values):.3f} to {max(values):.3f}"


def arms_claims_table(record: dict) -> list[str]:
    """A row for each claim of the paper: its verdicts in either arm, and the numbers that differ."""
    names = [BRIEFLY[arm] for arm in record["arms"]]
    n_first = len(next(iter(record["arms"].values())))
    lines = [
        f"| where | the paper says | {' | '.join(names)} | numbers that differ |",
        "| :-- | :-- | :-- | :-- | :-- |",
    ]
    for claim in record["claims"]:
        of_arms = claim["verdicts"][:n_first], claim["verdicts"][n_first:]
        cells = [
            ", ".join(f"{n} × {verdict}" for verdict, n in Counter(verdicts).items()) for verdicts in of_arms
        ]
        differing = [
            f"{key}: {_number(row['means'][0])} and {_number(row['means'][1])}"
            for key, row in claim["numbers"].items()
            if row["differ"]
        ]
        of_all = f"{len(differing)} of {len(claim['numbers'])}"
        shown = of_all + "".join(f"<br>{text}" for text in differing)
        lines.append(f"| {claim['source']} | {claim['says']} | {' | '.join(cells)} | {shown} |")
    return lines


def setup(app):
    app.add_directive("arms", Arms)
    app.add_directive("arms_claims", ArmsClaims)
    app.add_directive("timings", Timings)
    app.add_directive("sweep", Sweep)
    app.add_directive("networks", Networks)
    app.add_directive("paper", Paper)
    app.add_directive("paper_networks", PaperNetworks)
    app.add_directive("paper_features", PaperFeatures)
    return {"parallel_read_safe": True}
