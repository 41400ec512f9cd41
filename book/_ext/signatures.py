"""Sphinx extension: signatures that autodoc does not show by itself, or not as they are written.

A function compiled by numba is no function for autodoc. Of `npt.ArrayLike`, a union of many types of NumPy's
own, it writes out every one. And the fields of a named tuple, which stand in its signature and in its
docstring, it describes once more, as "Alias for field number 0".
"""

import numpy.typing as npt
from sphinx.ext.autodoc import FunctionDocumenter
from sphinx.util.typing import stringify_annotation

ARRAY_LIKE = stringify_annotation(npt.ArrayLike, "smart")


class CompiledFunctionDocumenter(FunctionDocumenter):
    """Functions compiled by numba, which autodoc does not take for functions."""

    objtype = "compiledfunction"
    directivetype = "function"
    priority = FunctionDocumenter.priority + 1

    @classmethod
    def can_document_member(cls, member, membername, isattr, parent):
        return hasattr(member, "py_func")

    def import_object(self, raiseerror=False):
        found = super().import_object(raiseerror)
        self.object = getattr(self.object, "py_func", self.object)
        return found


def as_written(app, what, name, thing, options, signature, returned):
    """The signature and what is returned, with the alias in place of what it stands for."""
    return [text and text.replace(ARRAY_LIKE, "ArrayLike") for text in (signature, returned)]


def without_fields(app, what, name, thing, skip, options):
    """Whether autodoc should pass over this member; None where that is its own to say."""
    return True if (getattr(thing, "__doc__", None) or "").startswith("Alias for field number ") else None


def setup(app):
    app.add_autodocumenter(CompiledFunctionDocumenter)
    app.connect("autodoc-process-signature", as_written)
    app.connect("autodoc-skip-member", without_fields)
    return {"parallel_read_safe": True}
