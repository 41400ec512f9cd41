"""What the figures show: read back from what matplotlib was told to draw."""

import matplotlib

matplotlib.use("Agg")

from io import BytesIO

import matplotlib.pyplot as plt
import numpy as np
import pytest
from IPython.core.pylabtools import print_figure
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patches import Circle
from PIL import Image

import othello_edu as oe
from othello_edu import plots
from othello_edu.board import parse_square
from othello_edu.errors import OthelloEduError


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def circles(ax, colour):
    """Squares on which there is a circle of this colour."""
    drawn = [patch for patch in ax.patches if isinstance(patch, Circle)]
    return {
        int(8 * round(patch.center[1]) + round(patch.center[0]))
        for patch in drawn
        if to_hex(patch.get_facecolor()) == colour
    }


def hatched(ax):
    """Squares that are hatched."""
    return {int(8 * (p.get_y() + 0.5) + p.get_x() + 0.5) for p in ax.patches if p.get_hatch()}


def luminance(colour):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def test_the_start_shows_two_discs_a_side_and_four_legal_moves():
    ax = plots.show_board(oe.Board.start())
    assert circles(ax, "#111111") == {28, 35}
    assert circles(ax, "#fdfdfd") == {27, 36}
    assert circles(ax, "#10291c") == {parse_square(name) for name in oe.Board.start().legal_moves}


def test_black_and_white_discs_differ_in_shape():
    ax = plots.show_board(oe.Board.start())
    radius = {
        to_hex(patch.get_facecolor()): patch.get_radius() for patch in ax.patches if isinstance(patch, Circle)
    }
    assert circles(ax, "#333333") == circles(ax, "#fdfdfd"), "white: a dark disc, and a light one on it"
    assert radius["#333333"] == radius["#111111"], "as large as a black disc"
    assert 0.6 < radius["#fdfdfd"] / radius["#333333"] < 0.85, "light enough inside, dark enough around"


def test_contents_are_drawn_like_a_board_and_unknown_squares_are_hatched():
    contents = np.zeros(64, int)
    contents[[3, 9]] = 1, 2
    contents[63] = -1
    ax = plots.show_board(contents)
    assert (circles(ax, "#111111"), circles(ax, "#fdfdfd"), hatched(ax)) == ({3}, {9}, {63})


def test_a1_is_at_the_top_left():
    ax = plots.show_board(np.zeros(64, int), marks=["a1"])
    (place,) = ax.collections[0].get_offsets()
    column, row = ax.transAxes.inverted().transform(ax.transData.transform(place))
    assert column < 0.1 and row > 0.9
    assert [label.get_text() for label in ax.get_xticklabels()] == list("abcdefgh")
    assert [label.get_text() for label in ax.get_yticklabels()] == list("12345678")


@pytest.mark.parametrize("marks", [["c4", 63], [26, "h8"], np.isin(np.arange(64), [26, 63])])
def test_marks_are_names_numbers_or_a_mask(marks):
    ax = plots.show_board(oe.Board.start(), marks=marks)
    assert ax.collections[0].get_offsets().tolist() == [[2, 3], [7, 7]]


def test_a_mapping_of_marks_writes_on_squares():
    ax = plots.show_board(oe.Board.start(), marks={"d4": "27", 0: "first"})
    assert {text.get_text(): text.get_position() for text in ax.texts if text.get_text()} == {
        "27": (3, 3),
        "first": (0, 0),
    }


@pytest.mark.parametrize("board_size", [4, 6, 8])
def test_a_smaller_board_keeps_its_square_names(board_size):
    ax = plots.show_board(oe.Board.start(board_size))
    names = [label.get_text() for label in ax.get_xticklabels()]
    assert len(names) == board_size and "".join(names) in "abcdefgh"
    heat = plots.board_heatmap(np.arange(64.0), board_size=board_size)
    assert heat.images[0].get_array().shape == (board_size, board_size)


def test_a_heat_map_puts_each_value_on_its_square():
    values = np.arange(64.0)
    values[5] = np.nan
    ax = plots.board_heatmap(values, label="logit (nats)")
    drawn = ax.images[0].get_array()
    assert drawn[7, 0] == values[parse_square("a8")] and drawn[0, 7] == values[parse_square("h1")]
    left, right, bottom, top = ax.images[0].get_extent()
    assert (left, top, right, bottom) == (-0.5, -0.5, 7.5, 7.5)
    assert hatched(ax) == {5}
    assert ax.images[0].colorbar.ax.get_ylabel() == "logit (nats)"


def test_a_scale_with_both_signs_is_symmetric_and_its_middle_is_pale():
    ax = plots.board_heatmap(np.linspace(-1, 3, 64))
    assert ax.images[0].get_clim() == (-3, 3)
    low, middle, high = (luminance(ax.images[0].cmap(x)[:3]) for x in (0.0, 0.5, 1.0))
    assert middle > low and middle > high


def test_a_scale_of_one_sign_darkens_steadily():
    values = np.linspace(0.5, 1, 64)
    cmap = plots.board_heatmap(values).images[0].cmap
    assert (np.diff([luminance(cmap(x)[:3]) for x in np.linspace(0, 1, 50)]) < 0).all()
    assert plots.board_heatmap(values, vmin=0, vmax=2).images[0].get_clim() == (0, 2)


def test_several_heat_maps_share_one_scale_and_one_colour_bar():
    values = np.random.default_rng(0).random((5, 64)) * np.arange(1, 6)[:, None]
    fig = plots.board_heatmaps(values, [f"stage {at}" for at in range(5)], "AUROC", columns=3)
    images = [image for ax in fig.axes for image in ax.images]
    assert {image.get_clim() for image in images} == {(values.min(), values.max())}
    assert [ax.get_title() for ax in fig.axes if ax.images] == [f"stage {at}" for at in range(5)]
    assert sum(ax.get_ylabel() == "AUROC" for ax in fig.axes) == 1


def test_a_layer_curve_has_a_point_for_each_stage():
    accuracy = np.linspace(0.6, 0.9, 9)
    ax = plots.layer_curve(
        {"probe": accuracy},
        "accuracy",
        controls={"majority": 0.5},
        intervals={"probe": (accuracy - 0.1, accuracy + 0.1)},
    )
    curve, control = ax.get_lines()
    assert curve.get_xdata().tolist() == list(range(9)) and curve.get_ydata().tolist() == accuracy.tolist()
    assert control.get_ydata().tolist() == [0.5] * 9
    assert control.get_linestyle() != curve.get_linestyle()
    assert len(ax.collections) == 1  # the band
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["probe", "majority"]
    assert ax.get_ylabel() == "accuracy" and "stage" in ax.get_xlabel()


def test_row_zero_of_a_ply_curve_is_the_position_after_one_move():
    ax = plots.ply_curve({"legal moves": np.arange(60)}, "moves")
    assert ax.get_lines()[0].get_xdata()[[0, -1]].tolist() == [1, 60]


@pytest.mark.parametrize("n_curves", [6, 9])
def test_curves_are_told_apart_by_more_than_colour(n_curves):
    ax = plots.layer_curve({f"stage {at}": np.arange(5) + at for at in range(n_curves)}, "value")
    lines = ax.get_lines()
    assert len({line.get_marker() for line in lines}) == n_curves
    assert len({str(line.get_color()) for line in lines}) == n_curves


def test_every_colour_of_a_curve_can_be_seen_on_the_ground_of_the_figure():
    ground = luminance(plots.PAPER)
    for colour in (*plots.PALETTE, plots.GREY):
        assert (ground + 0.05) / (luminance(colour) + 0.05) > 2, colour


def test_a_figure_has_its_own_light_ground_in_dark_mode_too():
    ax = plots.show_board(oe.Board.start())
    assert to_hex(ax.figure.get_facecolor(), keep_alpha=True) == plots.PAPER + "ff"
    assert luminance(plt.rcParams["text.color"]) < 0.05 < luminance(plots.PAPER)


def test_a_figure_is_drawn_into_the_axes_that_are_given():
    _, axes = plt.subplots(1, 2)
    assert plots.show_board(oe.Board.start(), axes[0]) is axes[0]
    assert plots.ply_curve({"x": [1, 2]}, "y", axes[1]) is axes[1]
    assert len(plt.get_fignums()) == 1


@pytest.mark.parametrize(
    ("draw", "told"),
    [
        (lambda: plots.show_board(np.zeros(36)), r"\(36,\)"),
        (lambda: plots.board_heatmap(np.zeros((8, 8))), r"\(8, 8\)"),
        (lambda: plots.show_board(oe.Board.start(), marks=["j9"]), "j9"),
        (lambda: plots.board_heatmaps([np.zeros(64)] * 2, ["one"]), "2 heat maps"),
        (lambda: plots.layer_curve({"a": [1, 2], "b": [1, 2, 3]}, "y"), "'a'"),
        (lambda: plots.layer_curve({"a": [1, 2]}, "y", intervals={"b": ([0, 0], [1, 1])}), "'b'"),
        (lambda: plots.ply_curve({}, "y"), "no curve"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(draw, told):
    with pytest.raises(OthelloEduError, match=told):
        draw()


def test_a_colour_bar_of_counts_has_whole_numbers():
    fig = plots.board_heatmaps([np.arange(64) // 32, np.zeros(64, int)], label="features")
    ticks = fig.axes[-1].get_yticks()
    assert len(ticks) > 1 and (ticks == np.round(ticks)).all()
    counts = np.full(64, np.nan)  # of some squares, the others unknown
    counts[:8] = 1, 2, 3, 0, 0, 1, 0, 2
    for fig in (plots.board_heatmaps([counts]), plots.board_heatmap(counts).figure):
        ticks = fig.axes[-1].get_yticks()
        assert len(ticks) > 1 and (ticks == np.round(ticks)).all()
    fig = plots.board_heatmaps([np.linspace(0, 0.5, 64)])
    assert (fig.axes[-1].get_yticks() % 1 != 0).any()


# Pictures in notebooks ------------------------------------------------------------------------------------


def test_a_picture_is_sharp_small_and_no_wider_than_a_page():
    for width in (4, 14):
        fig, ax = plt.subplots(figsize=(width, 3))
        plots.show_board(oe.Board.start(), ax)
        data, size = plots.picture(fig)
        image = Image.open(BytesIO(data))
        assert (image.format, image.mode) == ("PNG", "P")
        assert image.info["dpi"][0] == pytest.approx(192, abs=1)
        assert abs(image.width - 2 * size["width"]) <= 1 and abs(image.height - 2 * size["height"]) <= 1
        assert size["width"] <= 1.05 * plots.PAGE_WIDTH
        if width == 4:
            assert len(data) < 0.7 * len(print_figure(fig, "retina")), "of the same pixels"
        assert plots.picture(fig)[0] == data, "the same bytes every time"


def test_the_palette_of_a_picture_keeps_its_colours():
    fig = plots.board_heatmaps([np.linspace(-1, 1, 64)], ["a map"], "value")
    data, _ = plots.picture(fig)
    few = np.asarray(Image.open(BytesIO(data)).convert("RGB")).astype(int)
    dpi = 2 * plt.rcParams["figure.dpi"]
    many = np.asarray(Image.open(BytesIO(print_figure(fig, "png", dpi=dpi))).convert("RGB")).astype(int)
    assert few.shape == many.shape
    error = np.abs(few - many)
    assert error.mean() < 0.5 and np.quantile(error, 0.9999) <= 24


def test_squares_of_boards_have_whole_numbers_of_pixels():
    fig, axes = plt.subplots(1, 3, figsize=(10.4, 3.8))
    plots.show_board(oe.Board.start(), axes[0], title="a board")
    plots.board_heatmap(np.arange(64), axes[1], label="value")
    plots.show_board(oe.Board.start(6), axes[2])
    plots.picture(fig)
    dpi = 2 * plots.PAGE_WIDTH / 10.4
    for ax, n_squares in zip(axes, (8, 8, 6), strict=True):
        box = ax.get_position()
        sides = np.array([box.width, box.height]) * fig.get_size_inches() * dpi / n_squares
        np.testing.assert_allclose(sides, np.round(sides), atol=1e-6)
        assert sides[0] == pytest.approx(sides[1]) and sides[0] > 10


def test_a_single_mark_keeps_its_colour():
    """A palette is chosen by how often colours occur, and this one is rare."""
    fig, axes = plt.subplots(1, 3, figsize=(10.4, 3.8))
    for ax in axes:
        plots.show_board(oe.Board.start(), ax)
    plots.show_board(oe.Board.start(), axes[0], marks=["g6"])
    image = np.asarray(Image.open(BytesIO(plots.picture(fig)[0])).convert("RGB")).astype(int)
    yellow = np.array([int(plots.YELLOW[at : at + 2], 16) for at in (1, 3, 5)])
    assert (np.abs(image - yellow).max(-1) <= 24).sum() > 60


def test_an_empty_figure_has_no_picture():
    assert plots.picture(plt.figure()) is None
