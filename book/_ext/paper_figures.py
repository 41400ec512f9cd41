"""Sphinx extension: `{paper_figure}` draws a figure from the results of a run when the page is built.

Its arguments are the folder of the run, relative to the repository, and the name of a figure in
`othello_edu.reproduction.figures`; its options and its caption are those of `{figure}`:

    ```{paper_figure} results/small/corrected fig_2
    :name: paper-fig-2
    :alt: Share of squares read correctly at stages 0 to 8. The curve …

    Corrected protocol, with its controls.
    ```

What `othello-edu reproduce` draws into its own folder is the same figure from the same file. `{arms_figure}`
draws one of `ARMS_FIGURES` from the file that `tools/compare_arms.py` writes.
"""

import json
from pathlib import Path

from sphinx.directives.patches import Figure

from othello_edu.errors import OthelloEduError
from othello_edu.reproduction.figures import ARMS_FIGURES, FIGURES, draw_one, save
from othello_edu.reproduction.results import RESULTS, read_results

DRAWN = "_build/paper_figures"  # in the folder of the sources, where Sphinx looks for pictures


class PaperFigure(Figure):
    required_arguments = 2
    optional_arguments = 0
    final_argument_whitespace = False
    figures = FIGURES
    option_spec = {name: Figure.option_spec[name] for name in ("name", "alt", "width")}

    def run(self):
        folder, name = self.arguments
        if name not in self.figures:
            raise self.error(f"there is no figure {name!r}; there are: {', '.join(self.figures)}")
        if not self.options.get("alt"):
            raise self.error(f"{name} of {folder} needs :alt:, words for those who do not see it")
        picture = f"{DRAWN}/{folder.replace('/', '_')}_{name}.svg"
        self.draw(folder, name, Path(self.env.srcdir, picture))
        self.arguments = ["/" + picture]
        self.options.setdefault("width", "100%")
        self.options["figclass"] = ["of-the-paper"]
        return super().run()

    @property
    def env(self):
        return self.state.document.settings.env

    def draw(self, folder, name, path):
        """Draw the figure into a file; without a run, or where it holds nothing for it, the build stops."""
        file = Path(self.env.srcdir, folder, RESULTS)
        self.env.note_dependency(str(file))
        try:
            results = read_results(file)
        except OthelloEduError as error:
            raise self.error(f"{error}; `othello-edu reproduce --out {folder}` writes it") from None
        path.parent.mkdir(parents=True, exist_ok=True)
        if not draw_one(name, results, path):
            raise self.error(f"{folder}/{RESULTS} holds nothing for the figure {name}")


class ArmsFigure(PaperFigure):
    """`{arms_figure} FILE curves`: what `tools/compare_arms.py` measured, a curve for each network."""

    figures = ARMS_FIGURES

    def draw(self, file, name, path):
        file = Path(self.env.srcdir, file)
        self.env.note_dependency(str(file))
        if not file.exists():
            raise self.error(f"{file.name} is missing: `tools/compare_arms.py` writes it")
        path.parent.mkdir(parents=True, exist_ok=True)
        save(ARMS_FIGURES[name](json.loads(file.read_text(encoding="utf-8"))), name, path)


def setup(app):
    app.add_directive("arms_figure", ArmsFigure)
    app.add_directive("paper_figure", PaperFigure)
    return {"version": "1", "parallel_read_safe": True}
