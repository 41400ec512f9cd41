"""The environments agree: pyproject.toml, constraints.txt, environment.yml, and what Binder makes of it."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}  # where conda-forge says it otherwise


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def environment() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def requirements(lines) -> dict[str, Requirement]:
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}


def constraints() -> dict[str, Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return requirements(line for line in lines if line and not line.startswith("#"))


def test_conda_gets_the_packages_of_pyproject_in_the_same_ranges(project, environment):
    extras = project["optional-dependencies"]
    wanted = requirements(project["dependencies"] + extras["notebooks"] + extras["lab"])
    wanted = {CONDA_NAMES.get(name, name): str(wanted[name].specifier) for name in wanted}
    del wanted["pytorch"]  # its line chooses the build; the range is checked by pip, from pyproject.toml

    written = {}
    for line in (line for line in environment["dependencies"] if isinstance(line, str)):
        name, specifier = re.fullmatch(r"([\w-]+)(.*)", line).groups()
        if name not in ("python", "pip", "pytorch"):
            written[name] = str(Requirement(f"{name}{specifier}").specifier)
    assert written == wanted


def test_conda_gets_python_3_12_and_pytorch_for_the_cpu(project, environment):
    assert "python=3.12" in environment["dependencies"]
    assert "pytorch=*=cpu*" in environment["dependencies"]
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    assert Version("3.12") in Requirement(f"python{project['requires-python']}").specifier


def test_conda_installs_the_package_itself_through_pip(environment):
    assert {"pip": ["-e .[notebooks,lab]"]} in environment["dependencies"]


def test_every_requirement_is_tested_in_an_exact_version_within_its_range(project):
    exact = constraints()
    extras = [line for extra in project["optional-dependencies"].values() for line in extra]
    for name, requirement in requirements(project["dependencies"] + extras).items():
        if name == "othello-edu":
            continue
        assert name in exact, f"{name} is not in constraints.txt"
        (specifier,) = exact[name].specifier
        assert requirement.specifier.contains(specifier.version), f"{exact[name]} is outside {requirement}"


def test_constraints_are_exact_versions_and_nothing_else():
    for name, requirement in constraints().items():
        operators = [specifier.operator for specifier in requirement.specifier]
        assert operators == ["=="], f"{name}: {requirement}"
        assert requirement.url is None, f"{name} names an address: {requirement}"
        assert "+" not in str(requirement.specifier), f"{name} names a local version: {requirement}"


def test_binder_would_build_a_conda_environment_with_python_3_12():
    program = Path(sys.executable).with_name("jupyter-repo2docker")
    result = subprocess.run(
        [program, "--no-build", "--debug", "."], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    output = result.stdout + result.stderr
    assert result.returncode == 0, output
    assert "Building conda environment for python=3.12" in output
    # The package is installed from the repository, so that must be copied into the image before.
    assert 0 <= output.find(" src/ ${REPO_DIR}/") < output.find("env update -p ${NB_PYTHON_PREFIX} --file")


def test_make_help_lists_the_commands_of_the_readme():
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`)make ([a-z]+(?:-[a-z]+)*)", readme, re.MULTILINE))
    assert {"book", "test", "lab", "notebooks", "lint", "bench", "clean", "set-url"} <= named
    for target in named:
        assert re.search(rf"^  {target} ", listed, re.MULTILINE), f"make help does not list {target}"


def test_every_package_and_every_results_file_is_installed():
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    found = {
        ".".join(path.parent.relative_to(ROOT).parts) for path in ROOT.glob("othello_edu/**/__init__.py")
    }
    assert set(tools["packages"]) == found | {"othello_edu.results"}
    folder = ROOT / tools["package-dir"]["othello_edu.results"]
    of_runs, other = tools["package-data"]["othello_edu.results"]
    assert set(folder.glob(of_runs)) == set(folder.glob("*/*/results.json")) != set()
    assert (folder / other).is_file()
