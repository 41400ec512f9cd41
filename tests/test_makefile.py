"""The Makefile and .ci/run: when they install, what they refuse, what they pass on."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Stands in for Python and other programs: writes down how it was called. `-m venv` makes another of it.
PROGRAM = """\
#!/bin/sh
echo "$(basename "$0") $* REQUIRE_BROWSER=$REQUIRE_BROWSER INDEX=$PIP_EXTRA_INDEX_URL" >> "{log}"
case "$*" in
  *version_info*) exit {too_old} ;;
  --version) echo "Python 3.10.1" ;;
  "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
esac
exit {status}
"""


def program(folder: Path, name: str, log: Path, too_old: int = 0, status: int = 0) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(PROGRAM.format(log=log, too_old=too_old, status=status), encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def copy(tmp_path) -> Path:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(["make", *arguments], cwd=folder, capture_output=True, text=True)


def calls(log: Path, containing: str) -> list[str]:
    return [line for line in log.read_text(encoding="utf-8").splitlines() if containing in line]


def test_make_installs_once_and_again_only_after_the_requirements_change(copy):
    python = program(copy / "bin", "python3", log := copy / "log")
    for _ in range(2):
        assert make(copy, "install", f"PYTHON={python}").returncode == 0
    assert len(calls(log, "-m venv .venv")) == 1
    (install,) = calls(log, "pip install")
    assert "-e .[dev] -c constraints.txt" in install

    later = (copy / ".venv" / ".installed").stat().st_mtime + 10
    os.utime(copy / "constraints.txt", (later, later))
    assert make(copy, "install", f"PYTHON={python}").returncode == 0
    assert len(calls(log, "-m venv .venv")) == 1
    assert len(calls(log, "pip install")) == 2


def test_an_installation_that_fails_is_tried_again(copy):
    python = program(copy / "bin", "python3", log := copy / "log")
    assert make(copy, "install", f"PYTHON={python}").returncode == 0
    (copy / ".venv" / ".installed").unlink()
    program(copy / ".venv" / "bin", "python", log, status=1)
    assert make(copy, "book", f"PYTHON={python}").returncode != 0
    assert not (copy / ".venv" / ".installed").exists()


def test_an_old_python_is_refused_with_its_version_and_a_way_out(copy):
    python = program(copy / "bin", "python3", copy / "log", too_old=1)
    result = make(copy, "book", f"PYTHON={python}")
    assert result.returncode != 0
    assert "Python 3.11 or newer" in result.stderr
    assert "Python 3.10.1" in result.stderr
    assert "make book PYTHON=" in result.stderr
    assert not (copy / ".venv").exists()


def test_a_setting_of_pip_given_to_make_reaches_pip(copy):
    python = program(copy / "bin", "python3", log := copy / "log")
    assert make(copy, "install", f"PYTHON={python}", "PIP_EXTRA_INDEX_URL=somewhere").returncode == 0
    assert "INDEX=somewhere" in calls(log, "pip install")[0]


def ci(tmp_path, present, status=0) -> tuple[subprocess.CompletedProcess, Path]:
    """Run .ci/run on a machine that has the programs `present` and no others."""
    programs, log = tmp_path / "programs", tmp_path / "log"
    for name in present:
        program(programs, name, log, status=status if name == "make" else 0)
    for name in ("bash", "sh", "dirname", "basename"):
        (programs / name).symlink_to(shutil.which(name))
    command = [shutil.which("bash"), ROOT / ".ci" / "run"]
    return subprocess.run(command, env={"PATH": str(programs)}, capture_output=True, text=True), log


EVERYTHING = ["git", "make", "gcc", "node", "chromium", "python3", "apt-get"]


def test_ci_lints_tests_and_then_builds_with_browser_checks_required(tmp_path):
    result, log = ci(tmp_path, EVERYTHING)
    assert result.returncode == 0, result.stderr
    assert calls(log, "apt-get") == []
    settings = "REQUIRE_BROWSER=1 INDEX="
    assert calls(log, "make") == [f"make {target} {settings}" for target in ("lint", "test", "book")]


def test_ci_installs_only_what_is_missing(tmp_path):
    result, log = ci(tmp_path, [name for name in EVERYTHING if name not in ("chromium", "node")])
    assert result.returncode == 0, result.stderr
    (install,) = calls(log, "apt-get install")
    assert "chromium" in install and "nodejs" in install
    assert "gcc" not in install and "python3" not in install


def test_ci_stops_where_a_test_fails(tmp_path):
    result, log = ci(tmp_path, EVERYTHING, status=2)
    assert result.returncode == 2
    assert len(calls(log, "make")) == 1


CHANGING = "MPLBACKEND MATPLOTLIBRC JUPYTER_PATH PYTHONPATH PIP_USER PIP_TARGET PIP_PREFIX".split()
# Writes down its arguments, one a line, and those of the settings above that have reached it.
ARGUMENTS = f"""\
#!/bin/sh
for name in {" ".join(CHANGING)}; do
  eval "test -z \\"\\$$name\\" || echo $name has arrived >> \\"{{log}}\\""
done
for argument in "$@"; do printf '<%s>\\n' "$argument" >> "{{log}}"; done
"""


@pytest.fixture
def installed(copy) -> Path:
    """A copy in which everything is installed, with programs that write down how they are called."""
    programs = copy / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "jupyter-book", "jupyter", "check-jsonschema", "zizmor", "oxlint"):
        (programs / name).write_text(ARGUMENTS.format(log=copy / "log"), encoding="utf-8")
        (programs / name).chmod(0o755)
    (copy / ".venv" / ".installed").touch()
    return copy


@pytest.mark.parametrize("target", ["install", "book", "test", "lab", "notebooks", "lint", "bench"])
@pytest.mark.parametrize("given", ["environment", "command line"])
def test_settings_that_would_change_what_comes_out_are_left_behind(installed, target, given):
    settings = dict.fromkeys(CHANGING, "somewhere")
    command = ["make", target, *(f"{name}={value}" for name, value in settings.items())]
    command = command[:2] if given == "environment" else command
    environment = {**os.environ, **settings} if given == "environment" else None
    if target == "install":
        (installed / ".venv" / ".installed").unlink()
    result = subprocess.run(command, cwd=installed, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    log = installed / "log"
    assert calls(log, "<") and calls(log, "has arrived") == []


HOSTILE = """https://x/`touch ran`$(shell touch ran)$$(touch ran)"; touch ran; '; touch ran | * ~"""


@pytest.mark.parametrize("given", ["environment", "command line"])
@pytest.mark.parametrize(
    ("target", "name"), [("set-url", "URL"), ("notebooks", "NAMES"), ("test-package", "WORKERS")]
)
def test_what_is_given_to_make_is_passed_on_and_never_run(installed, target, name, given):
    command = ["make", target] + ([f"{name}={HOSTILE}"] if given == "command line" else [])
    environment = os.environ | ({name: HOSTILE} if given == "environment" else {})
    result = subprocess.run(command, cwd=installed, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    assert not (installed / "ran").exists()
    arguments = [line[1:-1] for line in (installed / "log").read_text(encoding="utf-8").splitlines()]
    passed = HOSTILE.split() if name == "NAMES" else [HOSTILE]
    assert [argument for argument in arguments if argument in passed] == passed


def test_the_name_of_a_python_is_never_run_as_a_script(copy):
    result = make(copy, "install", "PYTHON=python3; touch ran; `touch ran` $(shell touch ran)")
    assert result.returncode != 0
    assert not (copy / "ran").exists()


def test_set_url_without_an_address_says_how_to_give_one(installed):
    result = make(installed, "set-url")
    assert result.returncode != 0
    assert "make set-url URL=https://github.com/" in result.stderr


def test_several_notebooks_can_be_named(installed):
    assert make(installed, "notebooks", "NAMES=01_the_game  04_training").returncode == 0
    assert calls(installed / "log", "_") == ["<tools/run_notebooks.py>", "<01_the_game>", "<04_training>"]


def test_lint_checks_style_and_format_and_every_file_of_github(installed):
    shutil.copytree(ROOT / ".github", installed / ".github")
    assert make(installed, "lint").returncode == 0
    arguments = [line[1:-1] for line in (installed / "log").read_text(encoding="utf-8").splitlines()]
    for command in (
        "ruff check .",
        "ruff format --check .",
        "-m mypy",
        "othello_edu book",
        "--offline --quiet --persona=pedantic .github",
    ):
        assert command in " ".join(arguments)
    files = {str(path.relative_to(ROOT)) for path in (ROOT / ".github").glob("*/*.yml")}
    assert len(files) > 2 and files <= set(arguments)
