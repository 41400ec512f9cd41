"""The repository's address: one setting, `repository.url` in _config.yml, and everything that repeats it.

Binder, Colab and source links, the citation, the forms of issues, and the first cell of each notebook hold
the address.
`make set-url URL=https://github.com/owner/name` rewrites them together.
"""

import os
import re
import sys
from pathlib import Path

import yaml

from othello_edu.files import atomic_write

ROOT = Path(__file__).resolve().parent.parent
ADDRESS = re.compile(r"https://github\.com/([^/]+/[^/]+?)(?:\.git)?/?")
# What GitHub allows: an owner of letters, digits and single hyphens between them; a name that is not the
# path of a folder, nor ends as the addresses of git and of a wiki do.
OWNER = re.compile(r"(?!.{40})[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*")
NAME = re.compile(r"(?!\.{1,2}$)(?!.*\.(?:git|wiki)$)[A-Za-z0-9._-]{1,100}", re.IGNORECASE)
SUFFIXES = {".bib", ".cff", ".html", ".ipynb", ".json", ".md", ".py", ".toml", ".yml"}
SKIPPED = {"_build", "build", "dist", "vendor", "runs"}

# `google.colab` is among the loaded modules there and nowhere else; looking for it with find_spec raises
# an error where no `google` package is installed at all.
COLAB_CELL = """\
# On Colab: install the course's package. Elsewhere this cell does nothing.
import importlib.util
import sys

on_colab = "google.colab" in sys.modules
if on_colab and not importlib.util.find_spec("othello_edu"):
    source = "git+{url}"
    %pip install -q "othello-edu[notebooks] @ {{source}}\""""


def repository_url(root: Path = ROOT) -> str:
    """The address that _config.yml states."""
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    return config["repository"]["url"]


def colab_cell(root: Path = ROOT) -> str:
    """Source of the first code cell of every notebook."""
    return COLAB_CELL.format(url=repository_url(root))


def owner_and_name(url: str) -> str:
    """`owner/name` of a GitHub address; ValueError for any other: Colab opens notebooks from GitHub alone."""
    match = ADDRESS.fullmatch(url)
    owner, _, name = match[1].partition("/") if match else ("", "", "")
    if not (OWNER.fullmatch(owner) and NAME.fullmatch(name)):
        raise ValueError(
            f"{url!r} is not an address of the form https://github.com/owner/name, with an owner and a name "
            "that GitHub allows"
        )
    return f"{owner}/{name}"


def text_files(root: Path) -> list[Path]:
    """Every file of the repository that may hold the address, _config.yml last.

    Vendored and built files, and dot-folders such as .venv, are left out; .github is not.
    """
    found = []
    for folder, subfolders, names in os.walk(root):
        hidden = {name for name in subfolders if name.startswith(".")} - {".github"}
        subfolders[:] = [name for name in subfolders if name not in SKIPPED | hidden]
        found += [Path(folder, name) for name in names if Path(name).suffix in SUFFIXES]
    # Last, so that a run that was interrupted can simply be repeated.
    return sorted(found, key=lambda path: (path.name == "_config.yml", path))


def set_url(url: str, root: Path = ROOT) -> list[Path]:
    """Replace the repository's address by `url` in every file; returns the files that changed.

    What is replaced is `/owner/name`, which all forms of the address share: the page on GitHub, Binder's
    `v2/gh/owner/name` and Colab's `github/owner/name`.
    """
    new = owner_and_name(url)
    old = re.compile("/" + re.escape(owner_and_name(repository_url(root))) + r"(?![\w-])")
    changed = []
    for path in text_files(root):
        before = path.read_text(encoding="utf-8")
        after = old.sub("/" + new, before)
        if after != before:
            with atomic_write(path, "w") as file:
                file.write(after)
            changed.append(path)
    return changed


def main() -> int:
    if len(sys.argv) != 2:
        print("Usage: python tools/set_url.py https://github.com/owner/name", file=sys.stderr)
        return 2
    try:
        changed = set_url(sys.argv[1])
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    for path in changed:
        print(path.relative_to(ROOT))
    print(f"{len(changed)} files now name {repository_url()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
