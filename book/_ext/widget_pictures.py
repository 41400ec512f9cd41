"""Sphinx extension: a widget's picture stands in for it on a page that runs no script.

A notebook's output holds both, and MyST-NB would show the widget alone. Here the picture goes beside it,
inside `<noscript>`, with the words that the picture brings along as its alternative text.
"""

import re
from html import unescape
from pathlib import Path

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

WIDGET, PICTURE = "application/vnd.jupyter.widget-view+json", "image/svg+xml"


class WidgetPictures(SphinxPostTransform):
    default_priority = 3  # just before MyST-NB, at 4, chooses one kind of output and drops the others
    formats = ("html",)

    def run(self, **kwargs):
        for bundle in list(self.document.findall(nodes.container)):
            if bundle.get("nb_element") != "mime_bundle":
                continue
            kinds = {child.get("mime_type"): child for child in bundle.children}
            if WIDGET in kinds and PICTURE in kinds:
                for picture in kinds[PICTURE].findall(nodes.image):
                    kinds[WIDGET] += self.without_scripts(picture)

    def without_scripts(self, picture):
        picture = picture.deepcopy()
        svg = Path(self.env.srcdir, picture["uri"]).read_text(encoding="utf-8")
        picture["alt"] = unescape(re.search("<title>(.*?)</title>", svg, re.DOTALL)[1])
        return [
            nodes.raw("", "<noscript>", format="html"),
            picture,
            nodes.raw("", "</noscript>", format="html"),
        ]


def setup(app):
    app.add_post_transform(WidgetPictures)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
