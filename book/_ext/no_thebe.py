"""Keep sphinx-thebe's scripts and styles off the pages.

Jupyter Book loads that extension even where `thebe` is off. It then declares the same constant twice, an
error in every page's console, and names a script on another site.
"""


def drop_thebe(app, pagename, templatename, context, doctree):
    for kind in ("script_files", "css_files"):
        context[kind] = [file for file in context[kind] if not is_thebes(file)]


def is_thebes(file) -> bool:
    body = getattr(file, "attributes", {}).get("body") or ""
    return "thebe" in f"{getattr(file, 'filename', file) or ''} {body}".lower()


def setup(app):
    # Late: after the extension has added its files to the page.
    app.connect("html-page-context", drop_thebe, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
