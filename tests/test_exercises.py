"""Every question of every chapter: right answers pass, wrong ones are named, blank ones are let be."""

import importlib
import pkgutil

import numpy as np
import pytest

from othello_edu import exercises
from othello_edu.exercises import Misconception, Outcome, Question

CHAPTERS = sorted(
    module.name for module in pkgutil.iter_modules(exercises.__path__) if module.name.startswith("chapter_")
)
MODULES = {name: importlib.import_module(f"othello_edu.exercises.{name}") for name in CHAPTERS}
QUESTIONS = {
    f"{name}.{label}": question
    for name, module in MODULES.items()
    for label, question in vars(module).items()
    if isinstance(question, Question)
}
MISTAKES = [
    pytest.param(question, misconception, id=f"{name}-{at}")
    for name, question in QUESTIONS.items()
    for at, misconception in enumerate(question.misconceptions)
]

every_question = pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)


def add(a, b):
    return a + b


def subtract(a, b):
    return a - b


SUM = Question(
    title="A sum",
    answer=add,
    cases=[(1, 2), (3, 4)],
    misconceptions=[Misconception(subtract, "You subtract.")],
    advice="Use `+`.",
    why="That is what a sum is.",
)
HALF = Question(
    title="Half of 1 < 2",
    answer=0.5,
    misconceptions=[Misconception(2.0, "You divide the wrong way round.")],
    advice="Divide.",
    why="One of two.",
    code="1 / 2",
    tolerance=0.01,
)


# The questions of the book ----------------------------------------------------------------------------


def test_there_are_chapters_with_exercises():
    assert {"chapter_01", "chapter_02"} <= set(CHAPTERS)


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_has_two_questions_or_three(name):
    labels = {label for label, value in vars(MODULES[name]).items() if isinstance(value, Question)}
    assert labels in ({"q1", "q2"}, {"q1", "q2", "q3"})


@every_question
def test_the_solution_is_correct(question):
    assert question.check(question.answer).outcome == Outcome.CORRECT


@every_question
@pytest.mark.parametrize("blank", [None, ...])
def test_a_blank_answer_is_not_attempted(question, blank):
    assert question.check(blank).outcome == Outcome.NOT_ATTEMPTED


@every_question
def test_an_untouched_function_is_not_attempted(question):
    def untouched(*arguments): ...

    expected = Outcome.NOT_ATTEMPTED if callable(question.answer) else Outcome.INCORRECT
    assert question.check(untouched).outcome == expected


@pytest.mark.parametrize(("question", "misconception"), MISTAKES)
def test_a_misconception_is_recognised_by_name(question, misconception):
    reply = question.check(misconception.example)
    assert (reply.outcome, reply.text) == (Outcome.INCORRECT, misconception.explanation)


@every_question
@pytest.mark.parametrize(
    "nonsense", ["nonsense", object(), [], -12345.678, np.zeros((3, 5)), np.inf, lambda *_: "x", {}]
)
def test_any_other_answer_is_incorrect(question, nonsense):
    reply = question.check(nonsense)
    assert reply.outcome == Outcome.INCORRECT
    assert reply.text


@every_question
def test_a_question_explains_itself(question):
    assert question.misconceptions
    assert question.title in question.hint().heading and question.advice in question.hint().text
    solution = question.solution()
    assert question.why in solution.text
    assert solution.code.startswith("def ") if callable(question.answer) else solution.code


@every_question
def test_a_question_with_a_function_has_hidden_cases(question):
    assert callable(question.answer) == bool(question.cases)


# The mechanism ------------------------------------------------------------------------------------------


def test_a_wrong_function_is_told_where_it_differs():
    reply = SUM.check(lambda a, b: 3)
    assert reply.outcome == Outcome.INCORRECT
    assert "3, 4" in reply.text and "gives 3" in reply.text and "should give 7" in reply.text


def test_code_that_fails_is_told_how():
    reply = SUM.check(lambda a, b: a / 0)
    assert reply.outcome == Outcome.INCORRECT
    assert "ZeroDivisionError" in reply.text and "1, 2" in reply.text


def test_a_function_that_answers_in_one_case_only_was_attempted():
    assert SUM.check(lambda a, b: 3 if a == 1 else None).outcome == Outcome.INCORRECT


def test_a_function_and_a_value_are_not_confused():
    assert "a function" in SUM.check(3).text
    assert "a value" in HALF.check(lambda: 0.5).text


def test_an_answer_cannot_spoil_the_hidden_cases():
    def clear(numbers):
        numbers[:] = 0
        return 3

    total = Question("t", np.sum, "a", "w", [Misconception(len, "m")], cases=[(np.array([1, 2]),)])
    assert total.check(clear).outcome == Outcome.CORRECT
    assert total.check(clear).outcome == Outcome.CORRECT


@pytest.mark.parametrize("close", [0.5, 0.504, np.float32(0.5), np.array(0.5)])
def test_numbers_are_compared_within_the_tolerance(close):
    assert HALF.check(close).outcome == Outcome.CORRECT


def test_integers_are_compared_exactly():
    big = Question("t", 2**63, "a", "w", [Misconception(0, "m")])
    assert big.check(2**63).outcome == Outcome.CORRECT
    assert big.check(np.uint64(2**63)).outcome == Outcome.CORRECT
    assert big.check(2**63 + 1).outcome == Outcome.INCORRECT
    assert big.check(str(2**63)).outcome == Outcome.INCORRECT


@pytest.mark.parametrize(
    ("right", "also_right", "wrong"),
    [
        ("f5", " F5", "f4"),
        ({"a1", "h8"}, ["h8", "a1"], ["a1"]),
        (["a1", "h8"], ("a1", "h8"), ["h8", "a1"]),
        (np.array([1.0, np.nan]), [1, np.nan], [1, 2]),
        (True, True, False),
    ],
)
def test_answers_are_compared_as_what_they_are(right, also_right, wrong):
    question = Question("t", right, "a", "w", [Misconception("x", "m")])
    assert question.check(also_right).outcome == Outcome.CORRECT
    assert question.check(wrong).outcome == Outcome.INCORRECT


def test_a_reply_says_its_outcome_in_an_icon_and_a_word():
    icons = {"✓ Correct": HALF.check(0.5), "✗ Incorrect": HALF.check(2), "○ Not attempted": HALF.check(None)}
    for heading, reply in icons.items():
        assert repr(reply).startswith(heading)
        assert f"<strong>{heading}</strong>" in reply._repr_html_()


def test_text_in_a_reply_is_escaped_and_code_is_marked():
    html = HALF.hint()._repr_html_()
    assert "1 &lt; 2" in html and "1 < 2" not in html
    assert "<code>+</code>" in SUM.hint()._repr_html_()
    assert "return a + b" in SUM.solution()._repr_html_()
    assert "0.5" in HALF.solution().text
