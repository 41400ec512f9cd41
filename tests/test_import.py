"""What training needs, and no more: a machine without Jupyter can import the package."""

import os
import subprocess
import sys

import othello_edu as oe


def test_the_package_and_its_training_import_nothing_that_draws(root):
    drawing = ("matplotlib", "ipywidgets", "anywidget", "IPython", "jupyterlab", "sklearn")
    modules = ("activations", "cli", "interventions", "probes", "sae", "scoring", "training")
    program = (
        "import sys, othello_edu\n"
        + "".join(f"import othello_edu.{module}\n" for module in modules)
        + f"print([name for name in {drawing} if name in sys.modules], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True)
    assert done.stdout == "[] True\n", done.stderr


def test_the_names_that_notebooks_rely_on_are_exported():
    names = """
        Board GPT GPTConfig Games Positions auroc contents load_pretrained next_tokens perft random_games
        read_pgn read_transcripts read_wthor refuted replay residual_streams split_games stable_exact
        stable_paper stable_sound tokens write_pgn write_transcripts write_wthor
    """.split()
    assert [name for name in names if not callable(getattr(oe, name, None))] == []


def test_figures_are_drawn_where_there_is_no_ipython():
    program = (
        "import sys; sys.modules['IPython'] = None\n"
        "import othello_edu as oe; from othello_edu import plots\n"
        "print(len(plots.show_board(oe.Board.start()).patches))"
    )
    env = os.environ | {"MPLBACKEND": "Agg"}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=env)
    assert run.returncode == 0 and int(run.stdout) > 64, run.stderr
