"""One look of a board: every way to draw one has the same colours, the same measures, the same marks."""

import ast
import re
from xml.etree import ElementTree

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Circle

import othello_edu as oe
from othello_edu import drawing, plots
from othello_edu.drawing import BoardPanel, boards_svg
from othello_edu.widgets.modules import css

SVG = "{http://www.w3.org/2000/svg}"
HEX = re.compile(r"#(?:[0-9a-f]{6}|[0-9a-f]{3})\b", re.IGNORECASE)
POSITION = oe.Board.from_moves("f5d6c3d3c4")
LEGAL = [oe.board.parse_square(name) for name in POSITION.legal_moves]


def palette():
    """Every colour of the palette by its name."""
    return {name: value for name, value in vars(drawing).items() if HEX.fullmatch(str(value))}


def colours_in(source: str) -> list[str]:
    """The colours in the string literals of Python code."""
    literals = (node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant))
    return [colour for text in literals if isinstance(text, str) for colour in HEX.findall(text)]


# One palette ------------------------------------------------------------------------------------------


def test_python_names_a_colour_in_one_place_only(root):
    assert colours_in("f\"<rect fill='#5d9b79'/>{1}\"") == ["#5d9b79"]
    files = [path for folder in ("othello_edu", "book", "tools") for path in (root / folder).rglob("*.py")]
    found = {path.name: colours_in(path.read_text(encoding="utf-8")) for path in files}
    assert len(found.pop("drawing.py")) > 15 and len(found) > 30
    assert {name: colours for name, colours in found.items() if colours} == {}


def test_the_style_sheet_has_the_palettes_colours_under_their_names():
    values = re.findall(r"--oe-([\w-]+): (#\w+);", css())
    ours = palette()
    assert len(values) > 8
    assert [(name, colour) for name, colour in values if ours[name.upper().replace("-", "_")] != colour] == []
    assert HEX.findall(css()) == [colour for _, colour in values], "each colour is written once"


def test_the_style_sheets_measures_are_those_of_drawing():
    measures = dict(re.findall(r"--oe-([\w-]+-radius): ([\d.]+)%;", css()))
    assert measures == {
        "disc-radius": f"{100 * drawing.DISC_RADIUS:g}",
        "legal-radius": f"{100 * drawing.LEGAL_RADIUS:g}",
    }
    assert all(f"calc(50% - var(--oe-{name}))" in css() for name in measures)


def test_the_site_has_no_colours_of_its_own_but_shades_for_text(root):
    text = (root / "book" / "_static" / "custom.css").read_text(encoding="utf-8")
    shades = {"#00629b", "#6fc0ee", "#a84900", "#f0a030"}  # of links: they need more contrast than a curve
    assert set(HEX.findall(text)) - set(palette().values()) == shades


# One geometry -----------------------------------------------------------------------------------------


def discs_of_svg(svg: str, side: float) -> set[tuple]:
    """Circles of a picture: column, row, outer and inner radius in squares, and colour inside."""
    found = set()
    for circle in ElementTree.fromstring(svg).iter(f"{SVG}circle"):
        x, y, r, ring = (float(circle.get(name, 0)) / side for name in ("cx", "cy", "r", "stroke-width"))
        radii = (round(r + ring / 2, 6), round(r - ring / 2, 6))
        found.add((round(x - 0.5), round(y - 0.5), *radii, circle.get("fill")))
    return found


def discs_of_figure(ax) -> set[tuple]:
    """The same of a figure, where a ring is a light circle upon a dark one."""
    found = {}
    for circle in (patch for patch in ax.patches if isinstance(patch, Circle)):
        radius = round(circle.get_radius(), 6)
        outer = found.get(circle.center, (radius,))[0]
        found[circle.center] = (outer, radius, to_hex(circle.get_facecolor()))
    return {(*centre, *disc) for centre, disc in found.items()}


def test_a_picture_and_a_figure_draw_the_same_discs_and_dots():
    svg = boards_svg([BoardPanel(POSITION.contents, legal=LEGAL)], "a board")
    figure = discs_of_figure(plots.show_board(POSITION))
    plt.close("all")
    assert discs_of_svg(svg, side=40) == figure
    assert len(figure) == np.count_nonzero(POSITION.contents) + len(LEGAL)


def test_a_board_in_a_notebook_is_drawn_like_a_picture():
    assert discs_of_svg(POSITION.svg(), 40) == discs_of_svg(
        boards_svg([BoardPanel(POSITION.contents, legal=LEGAL)], "a board"), 40
    )


def test_black_is_filled_and_white_is_a_ring_as_large():
    black, white = (
        discs_of_svg(f"<g xmlns='{SVG[1:-1]}'>{drawing.disc_element(k, 5, 5, 4)}</g>", 10) for k in (1, 2)
    )
    assert black == {(0, 0, 0.4, 0.4, drawing.BLACK_DISC)}
    ((*_, outer, inner, fill),) = white
    assert (outer, fill) == (0.4, drawing.WHITE_DISC) and 0.6 < inner / outer < 0.85


# The picture ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("board_size", [4, 6, 8])
def test_a_picture_has_its_ground_its_words_and_its_squares(board_size):
    board = oe.Board.start(board_size)
    svg = ElementTree.fromstring(boards_svg([BoardPanel(board.contents)], 'the "start" <now>', board_size))
    assert svg.get("role") == "img" and svg.get("aria-label") == 'the "start" <now>'
    assert svg.find(f"{SVG}title").text == svg.get("aria-label")
    ground, felt = svg.iter(f"{SVG}rect")
    assert ground.get("fill") == drawing.PAPER and ground.get("width") == "100%"
    assert felt.get("fill") == drawing.FELT and int(felt.get("width")) == 40 * board_size
    assert len(discs_of_svg(ElementTree.tostring(svg, "unicode"), 40)) == 4


def test_boards_of_a_picture_stand_in_rows():
    panels = [BoardPanel(POSITION.contents, f"board {number}") for number in range(5)]
    svg = ElementTree.fromstring(boards_svg(panels, "five boards", per_row=3))
    places = [group.get("transform") for group in svg.findall(f"{SVG}g")]
    columns, rows = zip(*(map(float, re.findall(r"[\d.]+", place)) for place in places), strict=True)
    assert columns[:3] == (24, 376, 728) and columns[3:] == columns[:2]
    assert len(set(rows[:3])) == len(set(rows[3:])) == 1 and rows[3] > rows[0] + 8 * 40
    assert svg.get("viewBox").split()[2:] == [str(3 * 352), str(int(2 * (rows[3] - rows[0])))]


def test_a_faint_disc_and_the_last_move_are_marked():
    opacity = np.linspace(0.2, 1, 64)
    svg = ElementTree.fromstring(
        boards_svg([BoardPanel(POSITION.contents, last=26, opacity=opacity)], "a board")
    )
    faint = [float(circle.get("opacity")) for circle in svg.iter(f"{SVG}circle")]
    np.testing.assert_allclose(faint, opacity[np.flatnonzero(POSITION.contents)], atol=0.005)
    *_, last = svg.iter(f"{SVG}rect")
    assert last.get("stroke") == drawing.VERMILLION and (float(last.get("x")), float(last.get("y"))) == (
        82,
        122,
    )
