"""The repository's address is one setting: `make set-url` rewrites every place that repeats it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import set_url  # noqa: E402  (tools/ is not a package)

NEW = "https://github.com/a-student/layers.of-othello"
# Every place on the web that an address of a repository on GitHub takes part in.
HOSTS = r"(?:github\.com|mybinder\.org/v2/gh|colab\.research\.google\.com/github|raw\.githubusercontent\.com)"


@pytest.fixture
def copy(tmp_path) -> Path:
    """The repository's own files, without what is built from them, and without this one: it names NEW."""
    built = "_build build dist runs vendor *.egg-info __pycache__".split()
    hidden = ".[!g]* .git .git[!h]*".split()  # all but .github
    ignored = shutil.ignore_patterns(*built, *hidden, Path(__file__).name)
    return Path(shutil.copytree(ROOT, tmp_path / "copy", ignore=ignored))


def places(root: Path, slug: str) -> dict[str, int]:
    """How often `owner/name` occurs in each file."""
    counts = {}
    for path in root.rglob("*"):
        if path.is_file() and (found := path.read_bytes().lower().count(slug.lower().encode())):
            counts[str(path.relative_to(root))] = found
    return counts


def test_set_url_rewrites_every_occurrence_and_nothing_else(copy):
    old = set_url.owner_and_name(set_url.repository_url(copy))
    before = places(copy, old)
    assert {"README.md", "CITATION.cff", "_config.yml", "pyproject.toml"} <= set(before)
    assert ".github/ISSUE_TEMPLATE/config.yml" in before

    changed = set_url.set_url(NEW, copy)

    assert set_url.repository_url(copy) == NEW
    assert places(copy, old) == {}
    assert places(copy, set_url.owner_and_name(NEW)) == before
    assert sorted(str(path.relative_to(copy)) for path in changed) == sorted(before)


def test_set_url_there_and_back_changes_nothing(copy):
    originals = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    set_url.set_url(NEW, copy)
    set_url.set_url(set_url.repository_url(ROOT), copy)
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == originals


@pytest.mark.parametrize(
    "slug",
    ["a/b", "A-1/_", "a/-", "a/...", "a/.github", "a/b.gitx", "a/b.github.io", "a" * 39 + "/" + "b" * 100],
)
def test_every_name_that_github_allows_is_taken(slug):
    assert set_url.owner_and_name(f"https://github.com/{slug}") == slug


def test_a_clone_names_its_folder_so_that_cd_is_right_in_a_copy_of_any_name():
    commands = [
        command
        for path in set_url.text_files(ROOT)
        if path.suffix == ".md"
        for command in re.findall(r"git clone .*", path.read_text(encoding="utf-8"))
    ]
    assert commands
    assert all(command.split()[3:] == ["othello-edu"] for command in commands), commands


@pytest.mark.parametrize("form", [NEW + "/", NEW + ".git", NEW + ".git/"])
def test_set_url_takes_the_address_as_a_browser_or_git_shows_it(copy, form):
    set_url.set_url(form, copy)
    assert set_url.repository_url(copy) == NEW


@pytest.mark.parametrize(
    "url",
    ["", "a-student/layers", "http://github.com/a/b", "https://github.com/a", "https://example.org/a/b",
     "git@github.com:a/b.git", "https://github.com/a/b/tree/main", "https://github.com/a b/c",
     "https://github.com/a/b\n", "https://github.com/a/b c", "https://github.com/a/b?x", "https://github.com/a/é"],
)  # fmt: skip
def test_set_url_refuses_anything_else_and_leaves_every_file_alone(copy, url):
    originals = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"https://github\.com/owner/name"):
        set_url.set_url(url, copy)
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == originals


@pytest.mark.parametrize(
    "slug",
    ["a/.", "a/..", "a/..git", "a/...git", "a/.git", "a/b.git.git", "a/b.wiki", "a/b.WIKI", "a/" + "b" * 101,
     "./b", "../b", "-a/b", "a-/b", "a--b/c", "a.b/c", "a_b/c", "a" * 40 + "/b", "/b", "a/"],
)  # fmt: skip
def test_names_that_github_does_not_allow_are_refused(slug):
    with pytest.raises(ValueError, match="GitHub allows"):
        set_url.owner_and_name(f"https://github.com/{slug}")


def test_the_command_says_what_is_wrong_with_an_address():
    command = [sys.executable, ROOT / "tools" / "set_url.py", "https://example.org/a/b"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert "https://example.org/a/b" in result.stderr


def test_the_address_is_written_in_no_other_form():
    """A form that set-url does not know, such as SSH or a page on github.io, would stay behind."""
    slug = set_url.owner_and_name(set_url.repository_url())
    owner, name = slug.split("/")
    for path in set_url.text_files(ROOT):
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(rf"{HOSTS}/([\w.-]+)/{re.escape(name)}\b", text):
            # The book's example of how to call set-url.
            assert match[1] in (owner, "your-name"), f"{path.relative_to(ROOT)}: {match[0]} is not {slug}"
        assert f"{owner.lower()}.github.io" not in text.lower(), path
        assert f"github.com:{slug}".lower() not in text.lower(), path
        assert not re.search(rf"(?<!/){re.escape(slug)}(?![\w-])", text), f"{path}: {slug} without a host"


def test_the_colab_cell_does_nothing_elsewhere(tmp_path):
    source = set_url.colab_cell()
    guard = source[: source.index("%pip")]
    program = f"{guard}raise SystemExit('it would install')"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr


def test_the_colab_cell_installs_on_colab_where_the_package_is_missing(tmp_path):
    source = set_url.colab_cell()
    assert f"git+{set_url.repository_url()}" in source
    guard = source[: source.index("%pip")].replace('"othello_edu"', '"a_package_that_is_missing"')
    program = f"import sys; sys.modules['google.colab'] = sys\n{guard}raise SystemExit('it would install')"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 1
    assert "it would install" in result.stderr
