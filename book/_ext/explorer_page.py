"""Sphinx extension: `{explorer}` puts a layer explorer into a page that is not a notebook.

Its lines are links to positions: a title, the state as the explorer keeps it in the page's address, and what
there is to see, with bars between them; the explorer begins at the first:

    The Tiger | moves=c4e3f6e6f5&stage=1&compare=5 | Two stages side by side.

The network comes from the files that `tools/make_explorer.py` makes; without them the explorer says so.
"""

import json
import re
from pathlib import Path
from urllib.parse import parse_qsl

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from othello_edu.errors import OthelloEduError
from othello_edu.widgets import LayerExplorer
from othello_edu.widgets.modules import bundle, css

NUMBERS = ("ply", "stage", "compare")


class Explorer(SphinxDirective):
    has_content = True

    def run(self):
        number = 1 + self.env.new_serialno("explorer")  # of those on this page
        name = "layer-explorer" if number == 1 else f"layer-explorer-{number}"
        box = f'<div class="oe-page" id="{name}"></div>'
        # No module: it would run after the page has been laid out, and push down what stands below.
        code = f'"use strict";\n{bundle("page.js")}\nconst {{ mount, fromAddress }} = modules["page.js"];'
        lines = [self.parts(line) for line in self.content if line.strip()]
        start = f"fromAddress({json.dumps('#' + lines[0][1])})" if lines else "{}"
        script = f'(() => {{\n{code}\nmount(document.getElementById("{name}"), {start}, {number});\n}})();'
        html = f"<style>{css()}</style>\n{box}\n{self.picture()}\n<script>{script}</script>"
        links = nodes.bullet_list()
        for title, state, text in lines:
            links += self.link(title, state if number == 1 else f"explorer={number}&{state}", text)
        explorer = nodes.raw("", html, format="html")
        return [explorer, links] if lines else [explorer]

    def picture(self):
        """What stands there where no script runs: see `tools/make_explorer.py`."""
        file = Path(self.env.srcdir, "_build", "explorer", "explorer.svg")
        if not file.exists():
            raise self.error("the explorer's files are missing: run tools/make_explorer.py _build/explorer")
        text = re.search("<title>(.*?)</title>", file.read_text(encoding="utf-8"))[1].replace('"', "&quot;")
        up = "../" * self.env.docname.count("/")
        return f'<noscript><img src="{up}explorer.svg" alt="{text}"></noscript>'

    def link(self, title, state, text):
        reference = nodes.reference("", title, refuri=f"#{state}")
        return nodes.list_item("", nodes.paragraph("", "", reference, nodes.Text(f": {text}")))

    def parts(self, line):
        """Title, state and text of a line; a state that the explorer would refuse stops the build."""
        parts = [part.strip() for part in line.split("|")]
        if len(parts) != 3:
            raise self.error(f"a line needs title | state | text, and this has {len(parts)} parts: {line}")
        state = dict(parse_qsl(parts[1], strict_parsing=True))
        try:
            LayerExplorer(**{k: int(v) if k in NUMBERS else v for k, v in state.items()})
        except (OthelloEduError, TypeError, ValueError) as error:
            raise self.error(f"{parts[1]} leads nowhere: {error}") from None
        return parts


def setup(app):
    app.add_directive("explorer", Explorer)
    return {"version": "1", "parallel_read_safe": True}
