"""What CONTRIBUTING.md and CHANGELOG.md say is so: commands, files, what tests guard, and the version."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import yaml
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CHANGES = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
TEMPLATE = (ROOT / ".github" / "PULL_REQUEST_TEMPLATE.md").read_text(encoding="utf-8")


def first_line(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))).splitlines()[0]


def test_the_guide_says_of_every_test_file_what_it_guards():
    rows = [f"| `{path.name}` | {first_line(path)} |" for path in sorted((ROOT / "tests").glob("*.py"))]
    table = re.search(r"\| file \| guards \|\n\| --- \| --- \|\n((?:\|.*\n)+)", GUIDE)[1].splitlines()
    assert table == rows, "the table should be:\n" + "\n".join(rows)


def test_every_command_of_the_guide_is_one_of_make():
    listed = subprocess.run(["make", "-qp"], cwd=ROOT, capture_output=True, text=True).stdout
    for target in set(re.findall(r"(?:^ {4}|`)make ([a-z]+(?:-[a-z]+)*)", GUIDE + TEMPLATE, re.MULTILINE)):
        assert re.search(rf"^{target}:", listed, re.MULTILINE), f"make has no target {target}"


def test_every_file_that_the_guide_names_is_there():
    named = re.findall(r"`((?:[\w.]+/)+[\w.]*|[\w.]+\.(?:md|yml|txt|toml|cff))`", GUIDE)
    linked = re.findall(r"\]\((?!https?:|#)([^)#]+)", GUIDE)
    made = {".venv", "../shared/data", "runs/try"}  # by make, by hand, by a command
    missing = [
        name
        for name in {*named, *linked} - made
        if "NN" not in name and not any((base / name).exists() for base in (ROOT, ROOT / "book"))
    ]
    assert len(named) > 30 and missing == []


def test_every_link_within_the_guide_leads_to_a_heading():
    headings = {
        re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-")
        for text in re.findall(r"^#+ (.*)$", GUIDE, re.MULTILINE)
    }
    inner = re.findall(r"\]\(#([^)]+)\)", GUIDE)
    assert len(inner) > 6 and set(inner) <= headings


def test_the_version_is_the_same_wherever_it_stands():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    released = re.findall(r"^## \[([\d.]+)\] - (\d{4}-\d\d-\d\d)$", CHANGES, re.MULTILINE)
    assert project["version"] == str(citation["version"]) == released[0][0]
    assert released == sorted(released, key=lambda found: (Version(found[0]), found[1]), reverse=True)


def test_the_change_log_has_the_form_of_keep_a_changelog():
    sections = re.findall(r"^## \[([^\]]+)\]", CHANGES, re.MULTILINE)
    assert sections[0] == "Unreleased" and len(set(sections)) == len(sections)
    for name in sections:
        assert re.search(rf"^\[{re.escape(name)}\]: https://", CHANGES, re.MULTILINE), f"{name} links nowhere"
    kinds = re.findall(r"^### (.*)$", CHANGES, re.MULTILINE)
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
