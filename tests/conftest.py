"""What the tests share: programs and data that may be missing, and how much of the machine they use."""

import functools
import http.server
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

# Before numpy and torch are imported. Two pytest workers on two cores: one thread each.
if "PYTEST_XDIST_WORKER" in os.environ:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
WAIT_S = 60  # until a thing that should happen counts as not happening

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
def shared_cases() -> Path:
    """The folder of files of other programs that lies beside the repository."""
    folder = ROOT.parent / "shared" / "cases"
    if not folder.is_dir():
        pytest.skip("no folder shared/cases beside the repository")
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


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """A running JupyterLab with a home of its own: folder (of notebooks), url, token, and its environment."""
    if importlib.util.find_spec("jupyterlab") is None:
        missing("JupyterLab")
    home = tmp_path_factory.mktemp("jupyterlab")
    folder, runtime, log = home / "notebooks", home / "runtime", home / "log.txt"
    folder.mkdir()
    settings = {
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
        "notebook-extension/tracker": {"windowingMode": "none"},  # all cells are in the page, seen or not
    }
    for name, values in settings.items():
        file = home / f"config/lab/user-settings/@jupyterlab/{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(values))
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1"]
    command += [f"--ServerApp.root_dir={folder}", "--LabApp.extension_manager=readonly"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--ServerApp.allow_root=True")
    env = os.environ | {"HOME": str(home), "IPYTHONDIR": str(home / "ipython")}
    env |= {f"JUPYTER_{kind}_DIR": str(home / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    with log.open("w") as out:
        server = subprocess.Popen(command, env=env, stdout=out, stderr=out)
    try:
        # The server looks for a free port and makes a token; both are in the file that it writes then.
        until, about = time.monotonic() + WAIT_S, None
        while about is None and server.poll() is None and time.monotonic() < until:
            try:
                about = json.loads(next(runtime.glob("jpserver-*.json")).read_text())
            except (StopIteration, ValueError):
                time.sleep(0.1)
        assert about, f"JupyterLab did not start:\n{log.read_text()}"
        yield SimpleNamespace(folder=folder, url=about["url"], token=about["token"], env=env)
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
        server.wait()


@pytest.fixture(scope="session")
def barriers():
    """A function from a page to what axe-core finds there, at least serious: the rule and the element."""

    def of_page(page) -> list[str]:
        page.add_script_tag(path=ROOT / "tests" / "vendor" / "axe-core-4.14.1" / "axe.min.js")
        found = page.evaluate("axe.run().then((found) => found.violations)")
        return [
            f"{one['id']}: {node['html'][:80]}"
            for one in found
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
        ]

    return of_page


PAGE = """<!doctype html><html lang="en" ROOT><title>A widget</title><link rel="stylesheet" href="boards.css">
<body style="margin: 8px"><main id="here"></main><script type="module">
import widget from "./WIDGET";
const state = STATE, listeners = {};
const model = {
  get: (name) => state[name],
  set: (name, value) => {
    if (state[name] === value) return;
    state[name] = value;
    for (const listener of listeners[`change:${name}`] ?? []) listener();
  },
  save_changes: () => { window.saved = (window.saved ?? 0) + 1; },
  on: (name, listener) => (listeners[name] ??= []).push(listener),
  send: (content) => window.asked?.(content),
  tell: (content, buffers) => listeners["msg:custom"].forEach((listener) => listener(content, buffers)),
  off: (name, listener) => { listeners[name] = listeners[name].filter((other) => other !== listener); },
};
window.state = state;
window.model = model;
window.leave = widget.render({ model, el: document.getElementById("here") });
</script>"""


@pytest.fixture(scope="module")
def show(browser, tmp_path_factory):
    """Puts a widget into a page of its own, with a stand-in for the widget manager, and opens it.

    site: as a page of the site, which has the explorer's weights beside it; before: called with the page
    before it opens. `show.folder` is what the server serves.
    """
    from othello_edu.widgets.modules import css

    folder = tmp_path_factory.mktemp("widgets")
    (folder / "boards.css").write_text(css(), encoding="utf-8")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    contexts = []

    def open_page(widget, site=False, before=lambda page: None, **options):
        state = {name: getattr(widget, name) for name in widget.keys if name[0] != "_" and name != "layout"}
        name = f"{type(widget).__name__}.js"
        (folder / name).write_text(widget._esm, encoding="utf-8")
        root = 'data-content_root="./"' if site else ""
        page = PAGE.replace("ROOT", root).replace("WIDGET", name).replace("STATE", json.dumps(state))
        (folder / "page.html").write_text(page, encoding="utf-8")
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(120_000)
        before(page)
        page.goto(f"http://127.0.0.1:{server.server_port}/page.html")
        page.locator(".oe-widget").wait_for()
        return page

    open_page.folder = folder
    yield open_page
    for context in contexts:
        context.close()
    server.shutdown()
    server.server_close()
