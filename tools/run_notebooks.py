"""Execute the notebooks, save their outputs in place, and write book/timings.json.

`make notebooks` runs all of them, `make notebooks NAMES="01_the_game 04_training"` only those. A notebook
that cannot be run as a notebook of this course, whose cell fails, or that loses a picture is left as it was,
and the run ends with exit status 1. One whose outputs come out the same is not rewritten.
"""

import argparse
import json
import os
import platform
import re
import sys
import threading
import time
import uuid
from importlib.metadata import version
from pathlib import Path

import nbformat
import psutil
from jupyter_client.kernelspec import NoSuchKernel
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from othello_edu.files import atomic_write

ROOT = Path(__file__).resolve().parent.parent
BUDGET_SECONDS = {"04_training": 150, "11_learning_over_time": 150}  # a network is trained there
DEFAULT_BUDGET_SECONDS = 60
BUDGET_MB = 1500
CELL_TIMEOUT = 600  # seconds
WIDGETS = "application/vnd.jupyter.widget-state+json"
WIDGET = "application/vnd.jupyter.widget-view+json"
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


class UnusableNotebook(Exception):
    """A notebook that is not run, or not saved; the message says why, and what to do."""


class PeakMemory(threading.Thread):
    """Highest resident memory of a process and its children, in MB (10^6 bytes), sampled at 20 Hz."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self.process = psutil.Process(pid)
        self.peak_mb = 0.0
        self.stopped = threading.Event()

    def run(self):
        while not self.stopped.wait(0.05):
            total = 0
            try:
                for process in [self.process, *self.process.children(recursive=True)]:
                    total += process.memory_info().rss
            except psutil.NoSuchProcess:  # ended between the two calls: the next sample counts the rest
                continue
            self.peak_mb = max(self.peak_mb, total / 1e6)

    def stop(self) -> float:
        self.stopped.set()
        self.join()
        return self.peak_mb


def read(path: Path):
    """The notebook in a file, whatever kernel it was saved under: all of them run in this environment.

    Raises UnusableNotebook for a file that is no notebook, or one in another language.
    """
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except Exception as error:  # nbformat lets through what a broken file makes JSON and Python raise
        said = str(error).partition("\n")[0]
        raise UnusableNotebook(
            f"{path.name} cannot be read as a notebook ({said}). Save it again from JupyterLab, or fetch the "
            f"committed file: git checkout -- notebooks/{path.name}"
        ) from None
    said = [
        notebook.metadata.get("kernelspec", {}).get("language"),
        notebook.metadata.get("language_info", {}).get("name"),
    ]
    if other := [language for language in said if language not in (None, "", "python", "ipython")]:
        raise UnusableNotebook(
            f"{path.name} was saved under a kernel of {other[0]}, and the notebooks here are in Python. Open "
            "it in JupyterLab, choose the kernel Python 3 (ipykernel), and save it"
        )
    notebook.metadata["kernelspec"] = KERNELSPEC
    return notebook


def pictures(notebook) -> list[int]:
    """How many outputs of each cell are pictures or widgets."""
    return [
        sum(
            any(kind.startswith("image/") or kind == WIDGET for kind in output.get("data", {}))
            for output in cell.get("outputs", [])
        )
        for cell in notebook.cells
    ]


def execute(notebook, folder: Path) -> tuple[float, float]:
    """Run every cell of `notebook` in place, in a fresh kernel started in `folder`.

    Returns seconds from the start of the kernel to its end, and the kernel's peak memory in MB. Raises
    nbclient's errors where a cell fails, takes too long, or ends the kernel.
    """
    notebook.metadata.pop("widgets", None)
    sampler = None

    def watch(notebook):
        nonlocal sampler
        sampler = PeakMemory(client.km.provisioner.pid)
        sampler.start()

    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=CELL_TIMEOUT,
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,  # the time of day in every cell would change every file in every run
        coalesce_streams=True,
        on_notebook_start=watch,
    )
    start = time.perf_counter()
    try:
        client.execute()
    finally:
        peak_mb = sampler.stop() if sampler else 0.0
    return time.perf_counter() - start, peak_mb


def as_text(notebook, name: str) -> str:
    """The file's content, without what differs between two runs of the same code.

    Widgets get a random id in every run; here each gets one from the notebook's name and its place.
    The state of the widgets stays: the static page shows them from it.
    """
    notebook.metadata.get("language_info", {}).pop("version", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    text = nbformat.writes(notebook) + "\n"
    ids = list(notebook.metadata.get("widgets", {}).get(WIDGETS, {}).get("state", {}))
    stable = {old: uuid.uuid5(uuid.NAMESPACE_URL, f"{name}/{i}").hex for i, old in enumerate(ids)}
    if stable:
        text = re.sub("|".join(map(re.escape, ids)), lambda match: stable[match[0]], text)
    # The file's keys are sorted, those of the renamed widgets too.
    return json.dumps(json.loads(text), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def run_notebook(path: Path) -> dict:
    """Execute one notebook, save it if anything changed, and return its entry of timings.json.

    Raises UnusableNotebook where a cell shows fewer pictures than it does in the file.
    """
    notebook = read(path)
    before = pictures(notebook)
    seconds, peak_mb = execute(notebook, path.parent)
    now = pictures(notebook)
    if lost := [number for number in range(len(now)) if now[number] < before[number]]:
        raise UnusableNotebook(
            f"{path.name} lost {sum(before[number] - now[number] for number in lost)} of its {sum(before)} "
            f"pictures, in cell {', '.join(str(number + 1) for number in lost)} of {len(now)}, and was not "
            "saved. A setting of matplotlib may keep figures back, such as the environment variable "
            f"MPLBACKEND ({os.environ.get('MPLBACKEND', 'not set')}) or a matplotlibrc: remove it. "
            "Where a cell is to show fewer, clear its outputs in JupyterLab, save, and run this again"
        )
    text = as_text(notebook, path.stem)
    if text != path.read_text(encoding="utf-8"):
        with atomic_write(path, "w") as file:
            file.write(text)
    return {
        "seconds": round(seconds, 1),
        "budget_seconds": BUDGET_SECONDS.get(path.stem, DEFAULT_BUDGET_SECONDS),
        "peak_mb": round(peak_mb),
        "budget_mb": BUDGET_MB,
    }


def save_timings(path: Path, entries: dict, existing: set[str]) -> None:
    """Merge `entries` into the file of timings; notebooks that are no longer there are dropped."""
    known = json.loads(path.read_text(encoding="utf-8"))["notebooks"] if path.exists() else {}
    merged = {name: entry for name, entry in sorted({**known, **entries}.items()) if name in existing}
    machine = {
        "cores": os.cpu_count(),
        "python": ".".join(platform.python_version_tuple()[:2]),
        "torch": version("torch").partition("+")[0],
    }
    with atomic_write(path, "w") as file:
        json.dump({"machine": machine, "notebooks": merged}, file, indent=1)
        file.write("\n")


def main(arguments=None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(description="Execute the notebooks; save their outputs and timings.")
    parser.add_argument("names", nargs="*", help="for example 01_the_game; all of them if none is named")
    names = parser.parse_args(arguments).names
    paths = {path.stem: path for path in sorted((root / "notebooks").glob("*.ipynb"))}
    wanted = [Path(name).stem for name in names] or list(paths)
    if unknown := [name for name in wanted if name not in paths]:
        parser.error(f"no such notebook: {', '.join(unknown)}; there are: {', '.join(paths) or 'none'}")
    if not wanted:
        parser.error(f"there are no notebooks in {root / 'notebooks'}")

    entries, failed = {}, []
    for name in wanted:
        print(f"{name:32}", end="", flush=True)
        try:
            entry = entries[name] = run_notebook(paths[name])
        except NoSuchKernel:
            print("failed\n\nthis environment has no kernel python3: install ipykernel into it\n")
            failed.append(name)
            continue
        except (UnusableNotebook, CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            print(f"failed\n\n{error}\n")
            failed.append(name)
            continue
        over = entry["seconds"] > entry["budget_seconds"] or entry["peak_mb"] > entry["budget_mb"]
        print(
            f"{entry['seconds']:6.1f} s of {entry['budget_seconds']:3}"
            f"{entry['peak_mb']:8} MB of {entry['budget_mb']}" + ("   OVER BUDGET" if over else "")
        )
    if entries:
        save_timings(root / "book" / "timings.json", entries, set(paths))
    if failed:
        print(f"{len(failed)} of {len(wanted)} notebooks failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
