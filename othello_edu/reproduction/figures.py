"""The paper's figures, and the audit's, drawn from the results of a run alone.

Each function takes what `results.json` holds.

See Also:
    Chapter 10, :doc:`/notebooks/10_auditing_a_claim`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import plots
from ..files import FilePath, atomic_write
from ..pretrained import TEACHERS
from .audit import CORNER, REPORTS
from .claims import probe_accuracy, stability_counts
from .paper import COLOUR_THRESHOLD, FIG_2_ACCURACY, STABILITY_THRESHOLD
from .places import SIDES
from .results import by_stage


def _figure_of(ax: Axes) -> Figure:
    """The figure that axes lie in; of a part of one, which `Axes.figure` may be, nothing is drawn here."""
    assert isinstance(ax.figure, Figure)
    return ax.figure


def fig_2(results: dict) -> Figure:
    """Accuracy of linear probes at each stage in `results`, with the paper's curve and controls."""
    measured = results["results"]
    ours = list(probe_accuracy(measured).values())
    n = len(ours)
    curves: dict[str, Sequence[float]] = {"this network": [entry["accuracy"] for entry in ours]}
    curves["Du et al. 2025, Fig. 2"] = [*np.mean(FIG_2_ACCURACY, 0) / 100, *[np.nan] * (n - 8)]
    controls = {}
    if probes := by_stage(measured, "probes"):
        for name in ("random weights", "shuffled labels"):
            controls[name] = [entry[name]["accuracy"] for entry in probes.values()]
        controls["majority"] = measured["majority"]["mine/theirs"]["accuracy"]
    bands = ([entry["low"] for entry in ours], [entry["high"] for entry in ours])
    label = "share of squares read correctly"
    return _figure_of(plots.layer_curve(curves, label, controls, {"this network": bands}))


def quirks(results: dict) -> Figure | None:
    """The published probe of `results` with each of its quirks alone, with none, and with all; or None."""
    measured = results["results"].get("published_probes")
    if measured is None:
        return None
    curves = {name: [entry["accuracy"] for entry in stages] for name, stages in measured.items()}
    ax = plots.layer_curve(curves, "share of squares read correctly")
    ax.legend(fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    return _figure_of(ax)


def fig_3(results: dict) -> Figure:
    """How often each tile is among the 50 best (feature, tile, class) triples, at each stage in `results`."""
    parts = by_stage(results["results"], "features")
    maps = [np.sum(part["colour"]["top"], axis=0) for part in parts.values()]
    label = f"among the 50 best above {COLOUR_THRESHOLD}"
    return plots.board_heatmaps(maps, [f"stage {stage}" for stage in parts], label, vmin=0)


def fig_3_by_class(results: dict) -> Figure:
    """The best AUROC of any feature for each tile in `results`, over all and within a ply, by class."""
    parts = by_stage(results["results"], "features")
    fig, axes = plt.subplots(1, 2, figsize=(8.4, 3.4), sharey=True)
    for ax, (key, title) in zip(
        axes, (("colour", "all positions"), ("colour_within_ply", "at the same move")), strict=True
    ):
        best = np.array([part[key]["best"] for part in parts.values()])  # [stages, 3, 64]
        playable = best[:, 0] > 0
        curves = {
            "empty": np.nanmean(np.where(playable, best[:, 0], np.nan), axis=1),
            "mine": best[:, 1].mean(1),
            "theirs": best[:, 2].mean(1),
        }
        plots.layer_curve(curves, "mean over tiles of the best AUROC", ax=ax, title=title, stages=list(parts))
        ax.axhline(COLOUR_THRESHOLD, color=plots.GREY, linestyle=":")
    return fig


def fig_4(results: dict) -> Figure:
    """How many neurons of each block read along the probe's direction of each tile, in `results`."""
    neurons = results["results"]["neurons"]
    titles = [f"block {block}" for block in range(1, len(neurons["per_tile"]) + 1)]
    label = f"neurons with |cosine| > {neurons['threshold_scaled']:.2g}"
    return plots.board_heatmaps(neurons["per_tile_scaled"], titles, label, vmin=0)


def fig_5(results: dict) -> Figure:
    """How many features pass the stability threshold on each tile, by stage in `results`: first SAE seed."""
    parts = by_stage(results["results"], "features")
    maps = [np.array(part["stability"]["per_tile"][0]) for part in parts.values()]
    label = f"features with AUROC > {STABILITY_THRESHOLD}"
    return plots.board_heatmaps(maps, [f"stage {stage}" for stage in parts], label, vmin=0)


def fig_5_counts(results: dict) -> Figure:
    """Pairs above the threshold by stage in `results`, those that remain within a ply, and random weights."""
    measured = results["results"]
    parts, control = by_stage(measured, "features"), by_stage(measured, "control_features")
    curves = {
        "all positions": list(stability_counts(measured).values()),
        "at the same move": [np.mean(p["stability_within_ply"]["n_above"]) for p in parts.values()],
        "all positions, random weights": [np.mean(p["stability"]["n_above"]) for p in control.values()],
    }
    ylabel = f"(feature, tile) pairs above {STABILITY_THRESHOLD}"
    return _figure_of(plots.layer_curve(curves, ylabel, stages=list(parts)))


def audit(results: dict) -> Figure:
    """Chosen features on new games, mean over the 24 side tiles, beside scores that know no network.

    Args:
        results: of a run.

    Returns:
        A panel for each label and comparison.
    """
    measured = results["results"]
    parts, control = by_stage(measured, "features"), by_stage(measured, "control_features")
    titles = dict(zip(REPORTS, ("all positions", "same move", "same move, occupied"), strict=True))
    fig, axes = plt.subplots(2, 3, figsize=(10, 6), sharex=True, sharey=True)
    for row, (label, name) in zip(axes, (("paper", "paper's label"), ("sound", "proven")), strict=True):
        for ax, (report, title) in zip(row, titles.items(), strict=True):
            nothing = dict.fromkeys(("mean", "low", "high"), np.nan)  # no tile whose label is true and false
            ours = [part["audit"][label][report]["sides"] or nothing for part in parts.values()]
            curves = {"features": [entry["mean"] for entry in ours]}
            curves["random weights"] = [
                (part["audit"][label][report]["sides"] or nothing)["mean"] for part in control.values()
            ]
            bands = ([entry["low"] for entry in ours], [entry["high"] for entry in ours])
            controls = {
                rival: table[label][report]["sides"]["mean"]
                for rival, table in measured["rivals"].items()
                if table[label][report]["sides"]
            }
            plots.layer_curve(
                curves,
                f"mean AUROC, {len(SIDES)} side tiles",
                controls,
                {"features": bands},
                ax,
                f"{name}, {title}",
                stages=list(parts),
                xlabel="stage",
            )
            ax.get_legend().remove()
            ax.label_outer()
    handles, names = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=len(names), fontsize=9)
    return fig


def interior(results: dict) -> Figure:
    """Proven stability, tile by tile: chosen features of the best stage beside the nearest corner.

    Args:
        results: of a run.

    Returns:
        Two boards.
    """
    measured = results["results"]
    parts = by_stage(measured, "features")
    report = "within_ply"
    best = max(parts, key=lambda stage: parts[stage]["audit"]["sound"][report]["chosen"])
    maps = [
        parts[best]["audit"]["sound"][report]["tiles"],
        measured["rivals"][CORNER]["sound"][report]["tiles"],
    ]
    maps = [np.array([np.nan if value is None else value for value in tiles]) for tiles in maps]
    titles = [f"features, stage {best}", CORNER]
    return plots.board_heatmaps(maps, titles, "AUROC at the same move", vmin=0.5, vmax=1)


def sparse_probes(results: dict) -> Figure | None:
    """How well 1, 4 and 16 features read tiles, for each kind of feature, beside the linear probe.

    Args:
        results: of a run.

    Returns:
        A panel for each stage; None where the run has no such part.
    """
    parts = by_stage(results["results"], "sparse_probes")
    if not parts:
        return None
    fig, axes = plt.subplots(1, len(parts), figsize=(3.2 * len(parts), 3.4), sharey=True, squeeze=False)
    for ax, (stage, part) in zip(axes[0], parts.items(), strict=True):
        for at, (name, by_k) in enumerate(part.items()):
            if name == "linear probe":
                ax.axhline(by_k["all"]["balanced"], color=plots.GREY, linestyle="--", label=name)
                continue
            k = [int(key) for key in by_k]
            style = dict(marker="os^Dv"[at % 5], color=plots.PALETTE[at % len(plots.PALETTE)])
            ax.plot(k, [entry["balanced"] for entry in by_k.values()], label=name, **style)
        ax.set(xscale="log", xticks=k, xticklabels=k, title=f"stage {stage}", xlabel="features a tile")
        ax.minorticks_off()
    axes[0, 0].set_ylabel("balanced accuracy")
    handles, names = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=3, fontsize=9)
    return fig


def dictionaries(results: dict) -> Figure | None:
    """Every kind of dictionary at the same L0: what it reconstructs, and what of the board it holds.

    Args:
        results: of a run.

    Returns:
        A panel for each measure; None where the run has no such part.
    """
    parts = by_stage(results["results"], "dictionaries")
    if not parts:
        return None
    measures = {
        "explained_variance": "explained variance",
        "loss_recovered": "loss recovered",
        "coverage": "coverage",
        "board_f1": "board F1",
    }
    names = list(next(iter(parts.values()))["dictionaries"])
    tables = [part["dictionaries"] for part in parts.values()]
    if any("bits" in entry for table in tables for entry in table.values()):  # older results have none
        measures["bits"] = "bits a position"
    rows = np.arange(len(names))
    fig, axes = plt.subplots(1, len(measures), figsize=(10, 0.33 * len(names) + 1.2), sharey=True)
    for ax, (key, title) in zip(axes, measures.items(), strict=True):
        for at, (stage, part) in enumerate(parts.items()):
            found = [part["dictionaries"][name].get(key) for name in names]
            values = np.array([np.nan if value is None else value for value in found])
            height = rows + 0.2 * (at - 1)
            style = dict(color=plots.PALETTE[at], linestyle="none")
            ax.plot(values, height, marker="os^D"[at % 4], label=f"stage {stage}", **style)
            worse = values < 0  # than a constant: an arrow where the scale ends
            ax.plot(np.zeros(worse.sum()), height[worse], marker="<", **style)
        ax.set(title=title, xlim=(0, None) if key == "bits" else (-0.04, 1.04))
        ax.grid(axis="y", alpha=0.3)
    axes[0].set_yticks(rows, names)
    axes[0].invert_yaxis()
    handles = axes[0].get_legend_handles_labels()
    fig.legend(*handles, loc="outside lower center", ncols=len(parts))
    return fig


def dictionary_training(results: dict) -> Figure | None:
    """What longer training gives, in the network's stream and in one in which the board was planted.

    Args:
        results: of a run.

    Returns:
        A row of panels for each measure, a column for each stage: the network's stream solid, the planted one
        dashed, at the same L0. None where the run has no such part, or has one of before it was measured.
    """
    parts = {
        stage: part
        for stage, part in by_stage(results["results"], "dictionaries").items()
        if "training" in part and "planted" in part
    }
    if not parts:
        return None
    measures = {
        "explained_variance": "explained variance",
        "coverage": "coverage",
        "board_f1": "board F1",
        "found": "atoms found",
    }
    size = (3.1 * len(parts), 2.2 * len(measures) + 0.8)
    fig, axes = plt.subplots(
        len(measures), len(parts), figsize=size, sharex=True, sharey="row", squeeze=False
    )
    for column, (stage, part) in zip(axes.T, parts.items(), strict=True):
        column[0].set_title(f"stage {stage}")
        column[-1].set(xlabel="steps of training", xscale="log")
        for ax, (key, title) in zip(column, measures.items(), strict=True):
            for curves, line in ((part["training"], "-"), (part["planted"]["training"], "--")):
                for at, (name, by_steps) in enumerate(curves.items()):
                    values = [entry.get(key, np.nan) for entry in by_steps.values()]
                    style = dict(marker="os^D"[at % 4], color=plots.PALETTE[at], linestyle=line, ms=4)
                    planted = "" if line == "-" else ", planted"
                    ax.plot([int(n) for n in by_steps], values, label=name + planted, **style)
            ax.set_ylabel(title)
            ax.label_outer()
    handles, names = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=2, fontsize=9)
    return fig


def arms(record: dict) -> Figure:
    """Four curves of each network of two arms, from the `record` of `tools/compare_arms.py`."""
    fig, axes = plt.subplots(2, 2, figsize=(9.4, 6.4), layout="constrained")
    measured = {name: network["measured"] for name, network in record["networks"].items()}
    looks = list(zip(record["arms"].items(), ((plots.BLUE, "o-"), (plots.ORANGE, "s--")), strict=True))
    for ax, name in zip(
        axes.flat, ("discs", "mine_above_colours", "edited_board", "sae_variance"), strict=True
    ):
        for (arm, networks), (colour, style) in looks:
            for at, network in enumerate(networks):
                curve = measured[network][name]
                label = f"taught by {TEACHERS[arm]}" if at == 0 else None
                ax.plot(range(len(curve)), curve, style, color=colour, ms=3, lw=1, label=label)
        ax.set_title(record["compared"][name]["says"], fontsize=9)
        ax.set_xlabel("stage")
    last = axes.flat[-1]
    ks, stages = record["sae"]["k"], record["sae"]["stages"]
    last.set_xticks(range(len(ks) * len(stages)), [f"{k}" for _ in stages for k in ks], fontsize=8)
    last.set_xlabel(f"L0, at stages {', '.join(map(str, stages))}")
    fig.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return fig


ARMS_FIGURES: dict[str, Callable[[dict], Figure]] = {"curves": arms}
FIGURES: dict[str, Callable[[dict], Figure | None]] = {
    "fig_2": fig_2,
    "fig_2_quirks": quirks,
    "fig_3": fig_3,
    "fig_3_by_class": fig_3_by_class,
    "fig_4": fig_4,
    "fig_5": fig_5,
    "fig_5_counts": fig_5_counts,
    "audit": audit,
    "interior": interior,
    "sparse_probes": sparse_probes,
    "dictionaries": dictionaries,
    "dictionary_training": dictionary_training,
}


def draw_one(name: str, results: dict, path: FilePath) -> bool:
    """Draw one of `FIGURES` as an SVG file.

    Args:
        name: of the figure.
        results: of a run.
        path: of the file.

    Returns:
        False, and no file, where the results hold nothing for it.
    """
    figure = FIGURES[name](results)
    if figure is None:
        return False
    save(figure, name, path)
    return True


def save(figure: Figure, name: str, path: FilePath) -> None:
    """Write a figure as SVG, the same bytes every time, and close it.

    Args:
        figure: to write.
        name: of it.
        path: of the file.
    """
    with plt.rc_context({"svg.hashsalt": name}), atomic_write(path) as file:
        figure.savefig(file, format="svg", metadata={"Date": None})
    plt.close(figure)


def draw_all(results: dict, folder: FilePath) -> list[Path]:
    """Draw every figure of a run as SVG.

    Args:
        results: of a run.
        folder: made where there is none.

    Returns:
        The files.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / f"{name}.svg" for name in FIGURES}
    return [path for name, path in files.items() if draw_one(name, results, path)]
