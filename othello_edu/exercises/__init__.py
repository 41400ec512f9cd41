"""Exercises that check themselves: a module for each chapter, two questions in each, `q1` and `q2`.

In a notebook::

    from othello_edu.exercises import chapter_01

    def east(bits):
        ...

    chapter_01.q1.check(east)     # "✓ Correct", "✗ Incorrect" with the likely reason, "○ Not attempted"
    # chapter_01.q1.hint()
    # chapter_01.q1.solution()

To add a chapter, write `chapter_NN.py` beside this file with two `Question` objects, `q1` and `q2`::

    from ._question import Misconception, Question

    def mean_of_logs(counts):
        return float(np.log(counts).mean())

    def _log_of_mean(counts):
        return float(np.log(np.mean(counts)))

    q1 = Question(
        title="The cost of choice",              # as on the card in the chapter
        answer=mean_of_logs,                    # a function, or a value: 0.25, "f5", {"a1", "h8"}
        cases=[(np.array([1, 4]),), (np.array([2, 8, 8]),)],  # hidden calls, for functions only
        misconceptions=[
            Misconception(_log_of_mean, "This is the log of the mean; the log bends, so … differ."),
        ],
        advice="What does one position cost? Average that.",
        why="Each position costs the log of its number of moves, and …",
    )

A wrong answer is recognised by what it gives: one that agrees with the example of a misconception in
every hidden case gets that explanation. So choose cases on which the right answer and every example
differ; any other wrong answer is told the first case that differs. Ask for something the reader can
compute in a few lines with what the chapter has shown, and let the explanation say what the answer
assumed, not what the right one is. Where the numbers come from training or sampling, widen `tolerance` or
give `same`. For a value, `code` holds the lines that compute it; a function shows its own source, so
name it as the chapter does. Keep cases small: they are made on import.

`tests/test_exercises.py` finds the new module by itself and asserts all three outcomes of each question.
"""

from ._question import Misconception, Outcome, Question, Reply

__all__ = ["Misconception", "Outcome", "Question", "Reply"]
