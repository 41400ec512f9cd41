"""What the tests share: programs and data that may be missing, and how much of the machine they use."""

import os
import shutil
from pathlib import Path

# Before numpy and torch are imported. Two pytest workers on two cores: one thread each.
if "PYTEST_XDIST_WORKER" in os.environ:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")

import numba
import pytest
from hypothesis import HealthCheck, settings

if "PYTEST_XDIST_WORKER" in os.environ:
    numba.set_num_threads(1)  # or its first parallel kernel would set torch's threads to the number of cores

ROOT = Path(__file__).resolve().parent.parent

# No deadline: the first call of a numba kernel compiles it. The same examples in every run on CI; new ones
# elsewhere, so that the search goes on.
settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("local"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def missing(what: str) -> None:
    """Skip the test, visibly; fail it where REQUIRE_BROWSER=1 says that the program must be there."""
    if os.environ.get("REQUIRE_BROWSER") == "1":
        pytest.fail(f"{what} is not installed, and REQUIRE_BROWSER=1", pytrace=False)
    pytest.skip(f"{what} is not installed")


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of data that lies beside the repository and that the project does not ship."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no folder shared/data beside the repository")
    return folder


@pytest.fixture(scope="session")
def node() -> str:
    """Path of the Node program."""
    return shutil.which("node") or missing("Node")


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium, driven by Playwright."""
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    with sync_playwright() as playwright:
        # Playwright's own copy, where `playwright install chromium` has fetched it.
        if program is None and not Path(playwright.chromium.executable_path).exists():
            missing("Chromium")
        # Chromium's sandbox refuses to start as root, which is what a container's user is.
        sandbox = not (hasattr(os, "geteuid") and os.geteuid() == 0)
        chromium = playwright.chromium.launch(executable_path=program, chromium_sandbox=sandbox)
        yield chromium
        chromium.close()
