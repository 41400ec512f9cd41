"""tools/run_notebooks.py: what it saves, what it leaves alone, and what it measures."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def course(tmp_path) -> Path:
    """A repository with an empty folder of notebooks and the tool that runs them."""
    for folder in ("notebooks", "book", "tools"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / "tools" / "run_notebooks.py", tmp_path / "tools")
    return tmp_path


def write(course: Path, name: str, *sources: str) -> Path:
    path = course / "notebooks" / f"{name}.ipynb"
    cells = [new_markdown_cell("# A question"), *map(new_code_cell, sources)]
    nbformat.write(new_notebook(cells=cells), path)
    return path


def run(course: Path, *names: str, **settings: str) -> subprocess.CompletedProcess:
    command = [sys.executable, course / "tools" / "run_notebooks.py", *names]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **settings}
    if "MPLBACKEND" not in settings:
        environment.pop("MPLBACKEND", None)
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


def outputs(path: Path) -> list:
    return [cell.outputs for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def timings(course: Path) -> dict:
    return json.loads((course / "book" / "timings.json").read_text(encoding="utf-8"))["notebooks"]


def test_outputs_are_saved_with_the_time_and_the_memory_they_took(course):
    slow_and_large = "import time\nheld = bytearray(80_000_000)\ntime.sleep(1)"
    path = write(course, "01_small", "print('four discs')", slow_and_large)
    result = run(course)
    assert result.returncode == 0, result.stdout + result.stderr
    assert outputs(path)[0][0].text == "four discs\n"
    entry = timings(course)["01_small"]
    assert entry["seconds"] >= 1
    assert entry["peak_mb"] >= 80
    assert entry["budget_seconds"] == 60 and entry["budget_mb"] == 1500


def test_a_second_run_of_the_same_code_leaves_the_file_as_it_is(course):
    """Widgets get a random id each time; the ids that are saved do not depend on it."""
    path = write(course, "02_widget", "import ipywidgets\nipywidgets.IntSlider(description='ply')")
    assert run(course).returncode == 0
    first, changed = path.read_bytes(), path.stat().st_mtime_ns
    assert run(course).returncode == 0
    assert path.read_bytes() == first
    assert path.stat().st_mtime_ns == changed

    notebook = nbformat.read(path, as_version=4)
    state = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    shown = outputs(path)[0][0].data["application/vnd.jupyter.widget-view+json"]["model_id"]
    assert state[shown]["state"]["description"] == "ply"
    assert state[shown]["state"]["layout"].removeprefix("IPY_MODEL_") in state


def test_nothing_that_varies_between_runs_or_machines_is_saved(course):
    path = write(course, "01_small", "1 + 1")
    assert run(course).returncode == 0
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata.kernelspec.name == "python3"
    assert "version" not in notebook.metadata.language_info
    assert all("execution" not in cell.metadata for cell in notebook.cells)


def test_a_notebook_that_fails_is_left_alone_and_the_others_still_run(course):
    bad = write(course, "01_bad", "print('before')", "raise ValueError('e9 is not a square')")
    good = write(course, "02_good", "2 + 2")
    original = bad.read_bytes()
    result = run(course)
    assert result.returncode == 1
    assert "e9 is not a square" in result.stdout
    assert "1 of 2 notebooks failed: 01_bad" in result.stderr
    assert bad.read_bytes() == original
    assert outputs(good)[0][0].data["text/plain"] == "4"
    assert set(timings(course)) == {"02_good"}


def test_a_kernel_that_dies_is_a_failure(course):
    write(course, "01_dies", "import os; os._exit(1)")
    result = run(course)
    assert result.returncode == 1
    assert "01_dies" in result.stderr


def test_only_the_named_notebooks_run_and_timings_of_removed_ones_go(course):
    first, second = write(course, "01_first", "1"), write(course, "02_second", "2")
    assert run(course).returncode == 0
    assert set(timings(course)) == {"01_first", "02_second"}
    before = second.read_bytes()
    first.unlink()
    write(course, "03_third", "3")
    assert run(course, "03_third").returncode == 0
    assert set(timings(course)) == {"02_second", "03_third"}
    assert second.read_bytes() == before


def test_an_unknown_name_is_refused_with_the_names_there_are(course):
    write(course, "01_first", "1")
    result = run(course, "10_last")
    assert result.returncode == 2
    assert "10_last" in result.stderr and "01_first" in result.stderr


DRAWS = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"


def test_a_run_that_loses_pictures_is_not_saved(course):
    path = write(course, "01_figure", "1 + 1", DRAWS, DRAWS)
    assert run(course).returncode == 0
    assert ["image/png" in cell[-1].get("data", {}) for cell in outputs(path)] == [False, True, True]
    saved, measured = path.read_bytes(), timings(course)
    result = run(course, MPLBACKEND="Agg")
    assert result.returncode == 1
    assert "01_figure.ipynb lost 2 of its 2 pictures, in cell 3, 4 of 4" in result.stdout
    assert "MPLBACKEND (Agg)" in result.stdout and "clear its outputs" in result.stdout
    assert path.read_bytes() == saved and timings(course) == measured


def test_a_run_that_loses_a_widget_is_not_saved(course):
    shows = "import os, ipywidgets\nipywidgets.IntSlider() if not os.environ.get('NO_WIDGETS') else None"
    path = write(course, "01_widget", shows)
    assert run(course).returncode == 0
    saved = path.read_bytes()
    assert run(course, NO_WIDGETS="1").returncode == 1
    assert path.read_bytes() == saved


def test_a_cell_whose_outputs_were_cleared_may_show_less(course):
    path = write(course, "01_figure", DRAWS)
    assert run(course).returncode == 0
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].update(source="1 + 1", outputs=[])
    nbformat.write(notebook, path)
    assert run(course).returncode == 0
    assert outputs(path)[0][0].data["text/plain"] == "2"


def change(path: Path, metadata: dict) -> None:
    notebook = nbformat.read(path, as_version=4)
    path.write_text(json.dumps(notebook | {"metadata": metadata}), encoding="utf-8")


def test_whatever_kernel_of_python_a_notebook_was_saved_under_it_runs(course):
    environment = {"name": "my-env", "display_name": "my env", "language": "python"}
    change(write(course, "01_environment", "1"), {"kernelspec": environment})
    change(write(course, "02_conda", "1"), {"kernelspec": {"name": "py312", "display_name": "conda"}})
    change(write(course, "03_empty", "1"), {"kernelspec": {"name": "", "display_name": "", "language": ""}})
    change(write(course, "04_none", "1"), {})
    result = run(course)
    assert result.returncode == 0, result.stdout + result.stderr
    for path in (course / "notebooks").glob("*.ipynb"):
        assert nbformat.read(path, as_version=4).metadata.kernelspec.name == "python3"


def refused(course: Path, files: list[Path], said: str) -> str:
    """All of these files are refused by name and left alone, and another notebook still runs."""
    good = write(course, "20_good", "2 + 2")
    before = [path.read_bytes() for path in files]
    result = run(course)
    assert result.returncode == 1
    assert "Traceback" not in result.stdout + result.stderr
    for path in files:
        assert f"{path.name} {said}" in result.stdout
    assert [path.read_bytes() for path in files] == before
    assert outputs(good)[0][0].data["text/plain"] == "4"
    return result.stdout


def test_a_notebook_of_another_language_is_refused_by_name(course):
    in_r, in_julia = write(course, "01_r", "1"), write(course, "02_julia", "1")
    change(in_r, {"kernelspec": {"name": "ir", "display_name": "R", "language": "R"}})
    change(in_julia, {"language_info": {"name": "julia"}})
    said = refused(course, [in_r, in_julia], "was saved under a kernel of")
    assert "kernel of R," in said and "kernel of julia," in said and "choose the kernel Python 3" in said


def test_a_file_that_is_no_notebook_is_refused_by_name(course):
    contents = [
        "", "{", "<html>", "[]", "null", "\x00\x01", '{"nbformat": 9, "nbformat_minor": 0, "cells": []}',
        '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"cell_type": "code"}]}',
        '{"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": "python3"}, "cells": []}',
        '{"nbformat": 4, "nbformat_minor": 5, "metadata": {"language_info": []}, "cells": []}',
    ]  # fmt: skip
    files = [course / "notebooks" / f"{number:02}_broken.ipynb" for number in range(len(contents))]
    for path, content in zip(files, contents, strict=True):
        path.write_text(content, encoding="utf-8")
    assert "git checkout" in refused(course, files, "cannot be read as a notebook")
