"""Figures of the paper's experiments are drawn when a page is built, from the results file alone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from bs4 import BeautifulSoup

from othello_edu.reproduction.results import SCHEMA

ROOT = Path(__file__).resolve().parent.parent
CONF = f"""
import sys
sys.path.insert(0, {str(ROOT / "book" / "_ext")!r})
extensions = ["myst_parser", "paper_figures"]
exclude_patterns = ["_build"]
html_theme = "basic"
"""
ALT = "Pairs above the threshold at three stages: few, many, few."
FIGURE = "```{{paper_figure}} {run} {name}\n:name: {label}\n{options}\n\nPairs at each stage.\n```\n\n"
RIGHT = {"run": "results/tiny", "name": "fig_5_counts", "label": "paper-counts", "options": f":alt: {ALT}"}
WRONG = {
    "there is no figure 'fig_6'; there are: fig_2,": {"name": "fig_6"},
    "othello-edu reproduce --out results/nobody": {"run": "results/nobody"},
    "holds nothing for the figure sparse_probes": {"name": "sparse_probes"},
    "needs :alt:": {"options": ""},
}


def counts(*n_above: int) -> dict:
    """The parts of a run that fig_5_counts reads: pairs at stage 0, 1, … of two autoencoders."""
    parts = {}
    for stage, n in enumerate(n_above):
        pairs = {"stability": {"n_above": [n, n + 2]}, "stability_within_ply": {"n_above": [n // 2, 0]}}
        parts |= {f"features/{stage}": pairs, f"control_features/{stage}": pairs}
    return parts


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A page whose figure can be drawn, and a page of figures that cannot: what the build made and said."""
    source = tmp_path_factory.mktemp("pages")
    (source / "results" / "tiny").mkdir(parents=True)
    results = {"schema": SCHEMA, "results": counts(3, 11, 5)}
    (source / "results" / "tiny" / "results.json").write_text(json.dumps(results), encoding="utf-8")
    (source / "conf.py").write_text(CONF, encoding="utf-8")
    wrong = [
        FIGURE.format(**RIGHT | change | {"label": f"wrong-{n}"}) for n, change in enumerate(WRONG.values())
    ]
    (source / "wrong.md").write_text(
        "---\norphan: true\n---\n\n# Wrong\n\n" + "".join(wrong), encoding="utf-8"
    )
    (source / "index.md").write_text("# Right\n\n" + FIGURE.format(**RIGHT), encoding="utf-8")
    html = source / "_build" / "html"
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", source, html]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=600)
    return SimpleNamespace(html=html, said=" ".join(done.stderr.split()), code=done.returncode)


def test_the_directive_draws_a_figure_with_its_words_and_its_caption(built):
    page = BeautifulSoup((built.html / "index.html").read_text(encoding="utf-8"), "html.parser")
    figure = page.find("figure", id="paper-counts")
    assert "of-the-paper" in figure["class"] and "Pairs at each stage." in figure.figcaption.text
    assert figure.img["alt"] == ALT
    picture = ElementTree.parse(built.html / figure.img["src"])
    assert picture.getroot().tag.endswith("svg") and len(list(picture.iter())) > 50


@pytest.mark.parametrize("message", WRONG)
def test_a_figure_that_cannot_be_drawn_stops_the_build_with_the_reason(built, message):
    assert built.code != 0
    assert message in built.said
    assert "index.md" not in built.said


def test_no_figure_that_is_drawn_from_results_is_kept_in_the_repository():
    kept = subprocess.run(["git", "ls-files", "results"], cwd=ROOT, capture_output=True, text=True)
    if kept.returncode:
        pytest.skip("this copy is no git repository")
    names = {"results.json", "arms.json", "proven_stability.json"}
    assert {Path(line).name for line in kept.stdout.splitlines()} == names
