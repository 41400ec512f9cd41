"""Every public function, class and method says what it does: the API pages of the book come from there."""

import importlib
import inspect
import io
import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from docutils.core import publish_doctree
from docutils.nodes import literal
from docutils.parsers.rst import directives, roles
from docutils.parsers.rst.directives.admonitions import Note
from sphinx.ext.napoleon import Config, GoogleDocstring

import othello_edu

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(othello_edu.__path__, "othello_edu.")
    if not any(part.startswith("_") for part in module.name.split("."))
)
# Of the chapters' exercises, functions are solutions, shown as they stand; the question is their description.
DESCRIBED = [name for name in MODULES if ".exercises.chapter_" not in name]

SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises", "References", "Example", "See Also")


def public(module):
    """Functions, classes and their own methods and properties that a module defines."""
    for name, thing in vars(module).items():
        if name.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
            continue
        if inspect.isroutine(thing) or inspect.isclass(thing) or hasattr(thing, "py_func"):  # by numba
            yield name, thing
        if inspect.isclass(thing):
            for method, member in vars(thing).items():
                kinds = (property, classmethod, staticmethod)
                if not method.startswith("_") and (inspect.isfunction(member) or isinstance(member, kinds)):
                    yield f"{name}.{method}", inspect.getattr_static(thing, method)


def inherited(name):
    """Names that torch calls by themselves, and that its own documentation describes."""
    return name.rpartition(".")[2] in ("forward", "step")


def parameters(thing) -> list[str]:
    """What somebody may give to a function, or to a class that makes its objects by itself."""
    if isinstance(thing, property):
        return []
    if inspect.isclass(thing):
        if "__dataclass_fields__" in vars(thing) or "_fields" in vars(thing):  # of a NamedTuple
            return [name for name in vars(thing).get("__annotations__", {}) if name[0] != "_"]
        thing = vars(thing).get("__init__")
    thing = getattr(thing, "__func__", thing)
    thing = getattr(thing, "py_func", thing)
    if not inspect.isroutine(thing):
        return []
    names = list(inspect.signature(thing).parameters)
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def entries(text: str) -> list[str]:
    """The names that the sections Args and Attributes of a docstring explain."""
    sections = re.findall(r"^(?:Args|Attributes):\n((?: +.*\n|\n)+)", text + "\n", re.MULTILINE)
    return re.findall(r"^ {4}\*{0,2}(\w+): \S", "".join(sections), re.MULTILINE)


def unexplained(thing) -> list[str]:
    """Parameters that a docstring leaves out; one alone may be explained by the text around its name."""
    names, text = parameters(thing), inspect.cleandoc(thing.__doc__)
    told = [*entries(text), *(names if len(names) == 1 and f"`{names[0]}`" in text else ())]
    return [name for name in names if name not in told]


def misplaced(text: str) -> list[str]:
    """Sections of a docstring that stand before one which should come first."""
    found = re.findall(rf"^({'|'.join(SECTIONS)}):$", inspect.cleandoc(text), re.MULTILINE)
    return [
        f"{b} after {a}"
        for a, b in zip(found, found[1:], strict=False)
        if SECTIONS.index(a) >= SECTIONS.index(b)
    ]


def colons(thing) -> list[str]:
    """What napoleon takes for the type of a property: all before a colon in the first line."""
    line = thing.__doc__.partition("\n")[0] if isinstance(thing, property) else ""
    return (
        [f"first line has a colon outside backticks: {line}"] if ": " in re.sub("`[^`]*`", "", line) else []
    )


@pytest.fixture(scope="module")
def reader() -> Callable[[str], str]:
    """What docutils finds wrong with a docstring, once napoleon has read it with the settings of the site."""
    for role in ("doc", "ref", "mod", "func", "class", "meth", "attr", "data", "exc"):  # Sphinx has these
        roles.register_generic_role(role, literal)
    directives.register_directive("seealso", Note)
    settings = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["sphinx"]["config"]
    config = Config(**{name: value for name, value in settings.items() if name.startswith("napoleon_")})

    def faults(text: str) -> str:
        read = "\n".join(GoogleDocstring(inspect.cleandoc(text), config).lines())
        warnings = io.StringIO()
        publish_doctree(
            f".. default-role:: {settings['default_role']}\n\n{read}",
            settings_overrides={"warning_stream": warnings, "report_level": 2, "halt_level": 5},
        )
        return warnings.getvalue()

    return faults


def test_the_walk_finds_the_package():
    assert {"othello_edu.model", "othello_edu.engine", "othello_edu.widgets.game_tape"} <= set(MODULES)
    names = dict(public(importlib.import_module("othello_edu.model")))
    assert {"GPT", "GPT.run_with_cache", "GPTConfig.vocab_size"} <= set(names) and "nn" not in names
    assert "flips" in dict(public(importlib.import_module("othello_edu.engine")))


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_says_what_it_does(name):
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} has no docstring"
    if name not in DESCRIBED:
        return
    silent = [found for found, thing in public(module) if not (thing.__doc__ or inherited(found))]
    assert not silent, f"{name}: no docstring for {', '.join(silent)}"


class Explained:
    """Examples for the tests of the tests.

    Args:
        size: in pixels.
    """

    def __init__(self, size: int):
        self.size = size

    def method(self, first, *rest, unit="m"):
        """Several.

        Args:
            first: one.
            *rest: more,
                with a colon: here.

        Returns:
            unit: no parameter.
        """

    @classmethod
    def named(cls, width):
        """Something of `width` pixels."""

    @staticmethod
    def silent(width):
        """Something of that width."""


@dataclass
class Fields:
    """Made of fields.

    Attributes:
        a: the first.
    """

    a: int
    b: int = 0
    _kept: int = 0


class Pair(NamedTuple):
    """A pair. Neither is explained, and a name of the text such as `a` is not enough for two."""

    a: int
    b: int


@pytest.mark.parametrize(
    ("thing", "names"),
    [
        (Explained, []),
        (Explained.method, ["unit"]),
        (vars(Explained)["named"], []),
        (vars(Explained)["silent"], ["width"]),
        (Fields, ["b"]),
        (Pair, ["a", "b"]),
    ],
)
def test_a_parameter_that_is_not_explained_is_found(thing, names):
    assert unexplained(thing) == names


@pytest.mark.parametrize("text", ["A stray *asterisk.", "Two `board`s.", "Args:\n    a: |x"])
def test_what_is_no_restructured_text_is_found(reader, text):
    assert reader(text)
    assert reader("A star `*args`, a formula::\n\n    |x| = a_ * b\n") == ""


def test_sections_in_another_order_are_found():
    assert misplaced("What.\n\nRaises:\n    E: e.\n\nArgs:\n    a: a.\n\nSee Also:\n    b.") == [
        "Args after Raises"
    ]


def test_a_property_whose_text_would_be_taken_for_its_type_is_found():
    assert colons(property(fget=None, doc="Stages: several."))
    assert colons(property(fget=None, doc="Stages, `a: b`.\n\nFor example: two.")) == []
    assert colons(colons) == []


@pytest.mark.parametrize("name", DESCRIBED)
def test_every_docstring_has_the_form_that_the_reference_reads(name, reader):
    module = importlib.import_module(name)
    things = [(found, thing) for found, thing in public(module) if thing.__doc__]
    faults = [f"{found} explains no {what}" for found, thing in things for what in unexplained(thing)]
    faults += [f"{found}: {fault}" for found, thing in things for fault in colons(thing)]
    for found, text in [("the module", module.__doc__), *((found, thing.__doc__) for found, thing in things)]:
        faults += [f"{found}: {fault}" for fault in [*misplaced(text), *reader(text).splitlines()]]
    assert not faults, f"{name}:\n" + "\n".join(faults)


EXPORTED = sorted(
    name for name, thing in vars(othello_edu).items() if name[0] != "_" and not inspect.ismodule(thing)
)


@pytest.mark.parametrize("name", EXPORTED)
def test_every_exported_name_has_an_example_and_leads_to_its_chapter(name):
    text = inspect.cleandoc(getattr(othello_edu, name).__doc__)
    example = re.search(r"^Example:\n    >>> ", text, re.MULTILINE)
    chapters = re.findall(r":doc:`(/notebooks/\w+)`", text.partition("\nSee Also:\n")[2])
    missing = [chapter for chapter in chapters if not (ROOT / f"{chapter[1:]}.ipynb").is_file()]
    assert example and chapters and not missing, f"oe.{name}: an Example, and a See Also to a chapter"
