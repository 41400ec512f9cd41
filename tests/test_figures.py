"""Drawings of single chapters: what they are given is what they show."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from othello_edu.figures import chapter_03, chapter_07, chapter_10, chapter_11


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def words(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_every_move_of_the_data_flow_has_its_line_and_reads_no_later_one():
    ax = chapter_03.data_flow(["f5", "d6", "c4"])
    assert {"f5 at 1", "c4 at 3", "guess of move 4"} <= set(words(ax))
    attention = [text for text in ax.texts if "alpha" in (getattr(text, "arrowprops", None) or {})]
    assert len(attention) == 2 * (1 + 2 + 3)  # in two blocks, from each move up to itself
    assert all(text.xyann[1] < text.xy[1] + 0.2 for text in attention)


def test_a_number_grid_shows_its_numbers_and_a_dash_where_one_is_hidden():
    _, ax = plt.subplots()
    values = np.array([[1.25, -2.0], [0.5, 0.0]])
    image = chapter_03.number_grid(ax, values, 1, hidden=np.array([[0, 1], [0, 0]], bool), vmin=-2)
    assert words(ax) == ["1.2", "–", "0.5", "0.0"]
    assert np.array_equal(image.get_array(), values) and image.get_clim()[0] == -2


def test_a_pattern_has_a_dash_wherever_the_mask_forbids():
    pattern = torch.tensor([[1.0, 0.0], [0.25, 0.75]])
    fig = chapter_03.scores_and_pattern(["f5", "d6"], torch.tensor([[1.0, 2.0], [3.0, 4.0]]), pattern)
    scores, shares = fig.axes
    assert words(scores) == ["1.00", "2.00", "3.00", "4.00"]
    assert words(shares) == ["1.00", "–", "0.25", "0.75"]


def test_the_query_and_every_key_lie_within_the_picture():
    key = torch.tensor([[1.0, 2.0], [-3.0, 0.5], [0.0, -4.0]])
    ax = chapter_03.query_and_keys(
        ["f5", "d6", "c4"], torch.tensor([[9.0, 9.0], [0.0, 0.0], [2.0, 3.0]]), key
    )
    assert ax.get_xlim() == (-4, 3) and ax.get_ylim() == (-5, 4)
    assert {"f5", "d6", "c4"} <= set(words(ax))


def test_bars_of_heads_stand_side_by_side():
    shares = {kind: np.full(4, height) for kind, height in (("one", 0.2), ("many", 0.4), ("no", 0.6))}
    ax = chapter_03.shares_of_heads(shares, 0.5, n_head=2)
    assert sorted({round(float(bar.get_height()), 3) for bar in ax.patches}) == [0.2, 0.4, 0.6]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1.0", "1.1", "2.0", "2.1"]


def test_a_running_sum_ends_with_the_sum():
    ax = chapter_03.running_sum({"token": [1.0, -2.0], "place": [0.5, 0.5]})
    assert words(ax)[-2:] == ["1.5", "-1.5"]


def test_differences_have_a_row_for_each_stage_and_one_for_the_guesses():
    ax = chapter_03.differences_of_two_games(torch.eye(4), "two games")
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["stage 0", "stage 1", "stage 2", "guesses"]
    assert ax.get_title() == "two games" and words(ax)[0] == "1.00"


def test_points_lie_in_the_plane_and_arrows_begin_at_the_origin():
    _, ax = plt.subplots()
    chapter_07.plane(ax, torch.tensor([[1.0, 2.0], [0.5, -1.0]]), "rows")
    chapter_07.arrows(ax, torch.tensor([[1.0, 0.0], [0.0, 2.0]]), color="red")
    assert ax.lines[0].get_xdata().tolist() == [1.0, 0.5] and ax.get_title() == "rows"
    assert [(text.xy, text.xyann) for text in ax.texts] == [((1.0, 0.0), (0, 0)), ((0.0, 2.0), (0, 0))]


def test_angles_below_the_line_are_counted():
    _, ax = plt.subplots()
    groups = {
        "learned": torch.tensor([[1.0, 5.0, 30.0], [2.0, 40.0, 50.0]]),
        "random": torch.full((2, 3), 20.0),
    }
    chapter_07.angle_rows(ax, groups)
    assert words(ax) == ["1.5 of 3", "0.0 of 3"]


def test_every_verdict_has_its_sign():
    claims = [{"source": f"Fig. {n}", "says": "something"} for n in range(len(chapter_10.SIGNS))]
    ax = chapter_10.verdict_table(claims, {"published": list(chapter_10.SIGNS)})
    signs = [sign for sign, _ in chapter_10.SIGNS.values()]
    assert words(ax) == signs and len(set(signs)) == len(signs)


def test_time_begins_at_no_games_and_every_stage_has_a_curve():
    _, ax = plt.subplots()
    games = np.array([0, 500, 100_000])
    chapter_11.over_time(ax, games, np.arange(9).reshape(3, 3) / 9, "whose disc?")
    assert [line.get_label() for line in ax.lines] == ["stage 0", "stage 1", "stage 2"]
    assert ax.get_xlim()[0] < 0 and ax.get_xscale() == "symlog"
