"""`Question`: an exercise that checks itself, and says what a wrong answer seems to assume."""

import copy
import inspect
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from html import escape
from typing import Any

import numpy as np

from ..drawing import GREEN, GREY, VERMILLION


class Outcome(StrEnum):
    """What an answer is."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    NOT_ATTEMPTED = "not attempted"


@dataclass(frozen=True)
class Reply:
    """What a question says. Shown as HTML in notebooks.

    Attributes:
        heading: one line, with an icon.
        text: a few sentences; `code` in backticks.
        code: what stands below the text, if anything.
        outcome: of an answer; None for hints and solutions.
    """

    heading: str
    text: str
    code: str = ""
    outcome: Outcome | None = None

    def __repr__(self) -> str:
        return "\n\n".join(part for part in (self.heading, textwrap.fill(self.text, 88), self.code) if part)

    def _repr_html_(self) -> str:
        # The text keeps the colour of the page, so that it can be read on a light and on a dark one.
        colours: dict[Outcome | None, str] = {Outcome.CORRECT: GREEN, Outcome.INCORRECT: VERMILLION}
        edge = colours.get(self.outcome, GREY)
        text = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(self.text))
        code = f"<pre><code>{escape(self.code)}</code></pre>" if self.code else ""
        return (
            f'<div style="border-left: 4px solid {edge}; padding: 0.3em 0.8em">'
            f"<strong>{escape(self.heading)}</strong><br>{text}{code}</div>"
        )


@dataclass(frozen=True)
class Misconception:
    """A wrong answer that someone gives for a reason, and what to tell them.

    Attributes:
        example: the wrong answer itself, a value or a function. It is how the misconception is recognised.
        explanation: names what the answer assumes and why that fails, without giving the answer away.
    """

    example: Any
    explanation: str


@dataclass(frozen=True)
class Question:
    """One exercise: `check(answer)`, `hint()`, `solution()`.

    Attributes:
        title: as on the exercise's card in the chapter.
        answer: the right answer, a value, or a function that is tried on hidden `cases`.
        advice: text of the hint; `code` in backticks.
        why: text of the solution; `code` in backticks.
        misconceptions: wrong answers with what to say to them; an answer that gives the same as one of them,
            in every case, is taken to share its reason.
        cases: for functions, the arguments of each call, a tuple each.
        code: what the solution shows where the answer is a value (a function shows its own source).
        tolerance: relative and absolute, of numbers and arrays.
        same: `same(given, expected) -> bool`, where plain comparison is not enough.

    Example:
        >>> question = Question(
        ...     title="Squares of a board",
        ...     answer=64,
        ...     advice="Count one side.",
        ...     why="Eight rows of eight squares.",
        ...     misconceptions=[Misconception(16, "You added the sides.")],
        ... )
        >>> question.check(16)
        ✗ Incorrect
        <BLANKLINE>
        You added the sides.
        >>> question.check(64).outcome
        <Outcome.CORRECT: 'correct'>
    """

    title: str
    answer: Any
    advice: str
    why: str
    misconceptions: Sequence[Misconception]
    cases: Sequence[tuple] = ()
    code: str = ""
    tolerance: float = 1e-6
    same: Callable[[Any, Any], bool] | None = None

    def check(self, answer: Any = None) -> Reply:
        """Judge an answer: correct, incorrect (with the likely misconception), or not attempted.

        Args:
            answer: a value or a function, as the question asks; None or `...` is no attempt. Whatever an
                answer raises makes it incorrect, and is shown.
        """
        if _is_blank(answer):
            return self._not_attempted()
        if callable(self.answer) and not callable(answer):
            return _incorrect(f"This question asks for a function, not for a value such as {_short(answer)}.")
        if callable(answer) and not callable(self.answer):
            return _incorrect("This question asks for a value; call your function and give its result.")
        actual = []
        for case in self._calls():
            try:
                actual.append(_call(answer, case))
            except Exception as error:  # whatever a student's code raises is part of the answer
                return _incorrect(f"With {_arguments(case)} your code raised {type(error).__name__}: {error}")
        if all(map(_is_blank, actual)):
            return self._not_attempted()
        expected = self._results(self.answer)
        agrees = [self._agree(*pair) for pair in zip(actual, expected, strict=True)]
        if all(agrees):
            return Reply("✓ Correct", self.why, outcome=Outcome.CORRECT)
        for misconception in self.misconceptions:
            if all(map(self._agree, actual, self._results(misconception.example))):
                return _incorrect(misconception.explanation)
        return self._where_it_differs(agrees.index(False), actual, expected)

    def hint(self) -> Reply:
        """A nudge."""
        return Reply(f"→ Hint: {self.title}", self.advice)

    def solution(self) -> Reply:
        """The answer, and why."""
        code = textwrap.dedent(inspect.getsource(self.answer)) if callable(self.answer) else self.code
        value = "" if callable(self.answer) else f"The answer is {_short(self.answer)}. "
        return Reply(f"→ Solution: {self.title}", value + self.why, code.strip())

    def _calls(self) -> Sequence[tuple | None]:
        return self.cases if callable(self.answer) else (None,)

    def _results(self, answer: Any) -> list:
        return [_call(answer, case) for case in self._calls()]

    def _agree(self, actual: Any, expected: Any) -> bool:
        try:
            return bool((self.same or self._plainly_same)(actual, expected))
        except (TypeError, ValueError, RuntimeError, OverflowError):  # another kind of thing altogether
            return False

    def _plainly_same(self, actual: Any, expected: Any) -> bool:
        if isinstance(expected, str):
            return actual.strip().lower() == expected.lower() if isinstance(actual, str) else False
        if isinstance(expected, set | frozenset):
            return set(actual) == expected
        if isinstance(expected, int):  # exact, beyond the 53 bits of a float
            return not isinstance(actual, str) and int(actual) == actual == expected
        actual, expected = _array(actual), _array(expected)
        if expected.dtype.kind not in "biuf":
            return actual.shape == expected.shape and bool((actual == expected).all())
        return actual.shape == expected.shape and np.allclose(
            actual, expected, rtol=self.tolerance, atol=self.tolerance, equal_nan=True
        )

    def _not_attempted(self) -> Reply:
        how = "write your function" if callable(self.answer) else "put your answer in place of `None`"
        text = (
            f"To try “{self.title}”, {how} and run the cell again; `hint()` and `solution()` are there too."
        )
        return Reply("○ Not attempted", text, outcome=Outcome.NOT_ATTEMPTED)

    def _where_it_differs(self, at: int, actual: list, expected: list) -> Reply:
        if not callable(self.answer):
            return _incorrect(f"{_short(actual[0])} is not the answer. `hint()` gives a nudge.")
        return _incorrect(
            f"With {_arguments(self.cases[at])} your function gives {_short(actual[at])}; "
            f"it should give {_short(expected[at])}."
        )


def _incorrect(text: str) -> Reply:
    return Reply("✗ Incorrect", text, outcome=Outcome.INCORRECT)


def _is_blank(answer: Any) -> bool:
    return answer is None or answer is Ellipsis


def _call(answer: Any, case: tuple | None) -> Any:
    """The result of one hidden case, on copies: a student's function may change its arguments."""
    return answer if case is None else answer(*copy.deepcopy(case))


def _array(value: Any) -> np.ndarray:
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 120 else text[:117] + "…"


def _arguments(case: tuple | None) -> str:
    return "these arguments: " + ", ".join(map(_short, case)) if case else "this answer"
