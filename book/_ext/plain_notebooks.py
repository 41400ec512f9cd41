"""Sphinx extension: chapters are plain Markdown, and the site makes of it what only a site can have.

A chapter is read in JupyterLab, VS Code, Colab and on GitHub, none of which knows a directive or a role. So
it holds what all of them render, and this extension gives the site the rest:

- a block quote that begins with bold words becomes a box, with these words as its title;
- a Markdown cell that begins with `<a id="fig-…"></a>**Fig. 1.2.**`, below the code that draws, becomes the
  caption of that figure; `\\tag{1.2}` below an anchor numbers an equation. tools/number_figures.py writes
  the numbers, and the site counts for itself;
- a link to `#fig-…`, to an equation, to a term of the glossary or to an entry of the bibliography is
  checked, and says on hover what it leads to. A link that leads nowhere is a warning;
- the line that leaves room for a guess is left out: nobody can write on a page.
"""

import re

import nbformat
from docutils import nodes
from notebook_markdown import CAPTION, EQUATION, GUESS
from pybtex.plugin import find_plugin
from sphinx import addnodes
from sphinx.errors import ExtensionError
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode

# The first word of a box's title -> its look; other boxes are notes.
LOOKS = {"Predict": "tip", "How": "warning", "Exercise": "important"}

KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
GLOSSARY, BIBLIOGRAPHY = "book/glossary", "book/bibliography"


def to_myst(app, docname, source):
    """Turn the captions, numbered equations and folded cells of a notebook into MyST-NB's own."""
    if not app.env.doc2path(docname).endswith(".ipynb"):
        return
    notebook = _read(docname, source[0])
    cells = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            if cell.metadata.get("jupyter", {}).get("source_hidden"):
                cell.metadata["tags"] = [*cell.metadata.get("tags", []), "hide-input"]
        elif caption := CAPTION.fullmatch(cell.source):
            if not cells or cells[-1].cell_type != "code":
                raise ExtensionError(f"{docname}: no cell draws the figure above {caption['name']}")
            figure = {"name": caption["name"], "caption": caption["text"]}
            cells[-1].metadata.setdefault("mystnb", {})["figure"] = figure
            continue
        else:
            cell.source = EQUATION.sub(r"$$\n\g<formula>\n$$ (\g<name>)", GUESS.sub("", cell.source))
        cells.append(cell)
    notebook.cells = cells
    source[0] = nbformat.writes(notebook)


def _read(docname, text):
    """A notebook of Python, whatever its author's Jupyter calls the kernel."""
    try:
        notebook = nbformat.reads(text, as_version=4)
    except Exception as error:  # a file that is no notebook makes nbformat raise nearly anything
        raise ExtensionError(f"{docname}.ipynb is no notebook: save it again from JupyterLab") from error
    languages = notebook.metadata.get("kernelspec", {}), notebook.metadata.get("language_info", {})
    for language in (languages[0].get("language"), languages[1].get("name")):
        if language not in (None, "", "python", "ipython"):
            raise ExtensionError(
                f"{docname}.ipynb is written for {language}: choose Python 3 (ipykernel) and save it"
            )
    notebook.metadata["kernelspec"] = KERNELSPEC
    return notebook


class Boxes(SphinxTransform):
    """A block quote that begins with bold words is a box."""

    default_priority = 400

    def apply(self, **kwargs):
        for quote in list(self.document.findall(nodes.block_quote)):
            first = quote.children[0] if quote.children else None
            if not isinstance(first, nodes.paragraph):
                continue
            inline = [child for child in first if child.astext()]  # the parser begins with an empty text
            if isinstance(inline[0], nodes.strong):
                quote.replace_self(self.box(quote, first, *inline))

    def box(self, quote, first, words, *rest):
        if rest:  # text of the box on the line of its title
            first.children = []
            first += [nodes.Text(rest[0].lstrip()) if isinstance(rest[0], nodes.Text) else rest[0], *rest[1:]]
        else:
            quote.remove(first)
        title = nodes.title("", words.astext().rstrip("."))
        look = LOOKS.get(re.match(r"\w*", title.astext())[0], "note")
        box = nodes.admonition("", title, *quote.children, classes=[look])
        box.source, box.line = quote.source, quote.line
        return box


class Links(SphinxPostTransform):
    """Links to figures, equations, terms and citations lead to where the site has them."""

    default_priority = 8  # before MyST's own, which knows pages and headings
    known = None  # the glossary, once it has been read for this page

    def run(self, **kwargs):
        here = self.env.docname
        for node in list(self.document.findall(addnodes.pending_xref)):
            if node.get("reftype") != "myst":
                continue
            if node["refdomain"] == "doc":
                page, name = node["reftarget"], node["reftargetid"]
            else:  # a link to this page
                page, name = here, node["reftarget"]
            found = self.target(page, name)
            if found is not None:  # what is unknown here is left to MyST, which warns
                labelid, hover = found
                content = nodes.inline("", "", *[child.deepcopy() for child in node.children])
                node.replace_self(make_refnode(self.app.builder, here, page, labelid, content, hover))

    def target(self, docname, name):
        """(id, words on hover) of a page, or of a figure, equation, term or citation on it; or None."""
        if not name:
            title = self.env.titles.get(docname)
            return None if title is None else ("", title.astext())
        if docname == GLOSSARY:
            return self.definitions().get(name)
        if docname == BIBLIOGRAPHY:
            return self.citations().get(name)
        page, labelid, caption = self.env.get_domain("std").labels.get(name, (None, None, None))
        if page == docname:
            return labelid, caption
        page, _ = self.env.get_domain("math").equations.get(name, (None, None))
        return (f"equation-{name}", None) if page == docname else None

    def definitions(self):
        """Of every term of the glossary: its id -> (the same, what it means)."""
        if self.known is None:
            self.known = found = {}
            for item in self.env.get_doctree(GLOSSARY).findall(nodes.definition_list_item):
                meaning = " ".join(
                    definition.astext().replace("\n", " ") for definition in item.findall(nodes.definition)
                )
                found |= {name: (name, meaning) for term in item.findall(nodes.term) for name in term["ids"]}
        return self.known

    def citations(self):
        """Of every entry of the bibliography: its key -> (its id on the page, the entry in words)."""
        plain = find_plugin("pybtex.backends", "plaintext")()
        found = {}
        for citation in self.env.get_domain("cite").citations:
            entry = citation.tooltip_entry.text.render(plain).replace("\\url ", "")
            found[citation.key] = (citation.citation_id, entry)
        return found


def setup(app):
    app.connect("source-read", to_myst)
    app.add_transform(Boxes)
    app.add_post_transform(Links)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
