"""The few conventions that chapters add to Markdown, as patterns: captions, numbered equations, guesses.

Sphinx (`plain_notebooks`), tools/number_figures.py and the tests read them from here.
"""

import re

# Below the cell that draws: <a id="fig-passes"></a>**Fig. 1.4.** Passes are rare until …
CAPTION = re.compile(
    r'<a id="(?P<name>fig-[\w-]+)"></a>\*\*Fig\. (?P<number>[\d.]+)\.\*\* (?P<text>.+)', re.DOTALL
)

# <a id="layer-norm"></a>, an empty line, and a formula between two lines of $$ that ends in \tag{3.1}
EQUATION = re.compile(
    r'<a id="(?P<name>[\w-]+)"></a>\n\n'
    r"\$\$\n(?P<formula>(?:(?!\$\$).)+?)\n?\\tag\{(?P<number>[\d.]+)\}\n\$\$",
    re.DOTALL,
)

# [Fig. 1.4](#fig-passes), [equation (3.1)](#layer-norm); from elsewhere (03_a_gpt_by_hand.ipynb#layer-norm)
NUMBERED_LINK = re.compile(r"\[(?:Fig\. |equation \()(?P<number>[\d.]+)\)?\]\([\w.]*#(?P<name>[\w-]+)\)")

# The last line of a box that asks for a prediction.
GUESS = re.compile(r"^>\n> \*Your guess:\*.*\n?", re.MULTILINE)


def numbers(chapters: dict[int, list[str]]) -> dict[str, str]:
    """Of every figure and equation its number, {name: "chapter.place"}, in the order in which they stand.

    chapters: {number of the chapter: its Markdown cells}.
    """
    found = {}
    for chapter, cells in chapters.items():
        for pattern in (CAPTION, EQUATION):
            names = [match["name"] for cell in cells for match in pattern.finditer(cell)]
            found |= {name: f"{chapter}.{place}" for place, name in enumerate(names, 1)}
    return found


def numbered(chapters: dict[int, list[str]]) -> dict[int, list[str]]:
    """The same cells with the right numbers, in captions, equations, and links to them.

    Raises KeyError for a link to a figure or an equation that no chapter has.
    """
    right = numbers(chapters)

    def renumber(match):
        start, end = (at - match.start() for at in match.span("number"))
        return match[0][:start] + right[match["name"]] + match[0][end:]

    def rewrite(cell):
        for pattern in (CAPTION, EQUATION, NUMBERED_LINK):
            cell = pattern.sub(renumber, cell)
        return cell

    return {chapter: [rewrite(cell) for cell in cells] for chapter, cells in chapters.items()}
