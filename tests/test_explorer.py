"""`LayerExplorer`: what it shows is what Python computes, in a page alone and with a kernel."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import othello_edu as oe
from othello_edu.errors import OthelloEduError
from othello_edu.interventions import Cases, board_directions, probe_edits
from othello_edu.labels import MINE, THEIRS
from othello_edu.probes import LinearProbe
from othello_edu.sae import SparseAutoencoder, TopK
from othello_edu.widgets import LayerExplorer
from othello_edu.widgets.explorer_file import explorer_file, fingerprint, write_explorer

LINE = oe.random_games(1, seed=33).transcript(0)


@pytest.fixture(scope="module")
def parts():
    """A small network, rounded as the page has it, with a probe and autoencoders that were never trained."""
    torch.manual_seed(1)
    model = oe.GPT(oe.GPTConfig(n_layer=3, n_head=4, d_model=32)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter)).copy_(parameter.half().float())
    games = oe.random_games(60, seed=34)
    probe = LinearProbe(epochs=1).fit(
        oe.residual_streams(model, games), oe.contents(oe.replay(games))[:, :-1]
    )
    # As the file has it: what mine and theirs score more than empty.
    probe = LinearProbe.from_weights(
        (probe.weight - probe.weight[:, :, :1]).half(), (probe.bias - probe.bias[:, :, :1]).half()
    )
    saes = [SparseAutoencoder(32, 48, seed) for seed in range(model.n_stages)]
    for sae in saes:
        sae.W_enc.data = sae.W_enc.data.half().float()
    return model, probe, saes, games


@pytest.fixture(scope="module")
def written(parts):
    """How the network writes each square, rounded as the page has it."""
    model, _, _, games = parts
    found = board_directions(oe.residual_streams(model, games), oe.contents(oe.replay(games))[:, :-1])
    found[:, :, THEIRS] = (found[:, :, THEIRS] - found[:, :, MINE]).half()
    found[:, :, MINE] = 0
    return found


@pytest.fixture(scope="module")
def site(show, parts, written):
    """The explorer's file beside the page."""
    library = [{"name": "A line", "moves": LINE, "ply": 12}]
    content = explorer_file(*parts[:2], written, *parts[2:], library)
    write_explorer(show.folder, content, parts[0])
    return show


def read(page):
    """What the explorer says of each stage."""
    page.wait_for_function("document.querySelector('.oe-explorer-mind > .oe-error').textContent === ''")
    page.wait_for_function("document.querySelector('.oe-summary').textContent !== ''")
    return page.locator(".oe-stages .oe-stage").evaluate_all(
        "all => all.map((n) => n.getAttribute('aria-label'))"
    )


@torch.no_grad()
def expected(parts, n_moves, line=LINE):
    model, probe, _, _ = parts
    games = oe.Games.from_transcripts([line[: 2 * n_moves]])
    streams = oe.residual_streams(model, games)[:, 0, n_moves - 1]
    found = probe.logits(streams[:, None])[:, 0].argmax(-1).numpy()
    truth = oe.contents(oe.replay(games))[0, n_moves - 1]
    right = (found == truth).sum(1)
    return [f"stage {stage}: {n} of 64 squares right" for stage, n in enumerate(right)]


def with_kernel(widget):
    """A stand-in for the connection to the kernel: questions go to the widget in this process."""

    def before(page):
        def respond(content):
            try:
                answer, buffers = widget._response(content)
            except OthelloEduError as error:
                answer, buffers = {"error": str(error)}, None
            return {"answer": {"id": content["id"]} | answer, "buffers": [list(b) for b in buffers or []]}

        page.expose_function("ofPython", respond)
        page.add_init_script("""window.asked = async (content) => {
            const { answer, buffers } = await window.ofPython(content);
            model.tell(answer, buffers.map((b) => new DataView(Uint8Array.from(b).buffer)));
        };""")

    return before


@pytest.mark.parametrize("source", ["page", "kernel"])
def test_the_boards_of_every_stage_are_those_of_python(site, parts, source):
    if source == "page":
        page = site(LayerExplorer(moves=LINE, ply=20), site=True)
    else:
        widget = LayerExplorer(*parts, moves=LINE, ply=20)
        page = site(widget, before=with_kernel(widget))
    assert read(page) == expected(parts, 20)
    page.get_by_role("button", name="Undo").click()
    page.wait_for_function("document.querySelector('[role=slider], input[type=range]').value === '19'")
    page.wait_for_timeout(200)
    assert read(page) == expected(parts, 19)


@torch.no_grad()
def test_the_next_moves_are_those_of_python(site, parts):
    model = parts[0]
    page = site(LayerExplorer(moves=LINE, ply=15), site=True)
    read(page)
    games = oe.Games.from_transcripts([LINE[:30]])
    p = model(oe.tokens(games)[:, :15])[0, -1, 1:].softmax(-1)
    squares = oe.games.move_squares(8)[1:]
    names = [oe.board.SQUARE_NAMES[squares[at]] for at in p.argsort(descending=True)[:8]]
    shown = page.locator(".oe-next .oe-bar-text").all_inner_texts()
    assert [text.split()[0] for text in shown] == names
    page.wait_for_timeout(300)  # bars grow to their length
    bars = page.locator(".oe-bar").evaluate_all("all => all.map((bar) => bar.getBoundingClientRect().width)")
    shares = p.sort(descending=True).values[:8] / p.max()
    np.testing.assert_allclose(np.array(bars) / bars[0], shares, atol=0.01)
    legal = oe.Board.from_moves(LINE[:30]).legal_moves
    assert [("not legal" in text) for text in shown] == [name not in legal for name in names]
    mass = sum(float(p[list(squares).index(oe.board.parse_square(name))]) for name in legal)
    said = page.locator(".oe-next + .oe-summary").inner_text()
    assert abs(float(said.split(":")[1].strip(" %.")) - 100 * mass) < 0.6


@torch.no_grad()
@pytest.mark.parametrize("source", ["page", "kernel", "kernel, along the reading"])
def test_a_disc_turned_over_in_its_mind_is_pythons_edit(site, parts, written, source):
    model, probe, _, _ = parts
    along = None if "reading" in source else written
    widget = LayerExplorer(*parts, written=along, moves=LINE, ply=15, stage=1)
    board = oe.Board.from_moves(LINE[:30])
    square = int(np.flatnonzero(board.contents)[3])
    to = 2 if board.contents[square] == board.to_move else 1
    moves = [oe.board.parse_square(LINE[at : at + 2]) for at in range(0, 30, 2)]
    _, ours, _ = widget._run_network(moves, {"square": square, "to": to, "from": 1})
    nothing = np.zeros((1, 61), bool)
    case = Cases(*(np.array([v]) for v in (0, 14, square, 3 - to, to)), nothing, nothing)
    edits = probe_edits(probe, case, range(1, 4), along=along)
    games = oe.Games.from_transcripts([LINE[:30]])
    p = model(oe.tokens(games)[:, :15], edits)[0, -1, 1:].softmax(-1)
    np.testing.assert_allclose(ours[oe.games.move_squares(8)[1:]], p, atol=1e-6)

    name = oe.board.SQUARE_NAMES[square]
    if source == "page":
        page = site(LayerExplorer(moves=LINE, ply=15, stage=1), site=True)
    else:
        page = site(widget, before=with_kernel(widget))
    read(page)
    page.get_by_label("A disc to turn over in the network's mind").select_option(name)
    page.locator(".oe-next + .oe-summary", has_text="turned over").wait_for()
    shown = page.locator(".oe-next .oe-bar-text").all_inner_texts()
    order = np.argsort(-ours, kind="stable")[:8]
    assert [text.split()[0] for text in shown] == [oe.board.SQUARE_NAMES[at] for at in order]
    direction = "writing" if along is not None else "reading"
    colour = "black" if board.contents[square] == 2 else "white"
    said = f"Pushed along its {direction} direction from stage 1 on, {name} is read as {colour} at 3 of 3"
    assert said in page.locator(".oe-explorer-mind").inner_text()
    # What was turned over on purpose is no mistake: it is marked, and neither right nor wrong.
    believed = page.locator(f".oe-believed:visible [data-square='{name}']")
    assert "turned over on purpose; in truth" in believed.get_attribute("aria-label")
    assert believed.evaluate("n => [n.matches('.oe-edited'), n.matches('.oe-wrong')]") == [True, False]
    assert [label.split(" of ")[1] for label in read(page)] == ["64 squares right"] + 3 * ["63 squares right"]
    bars = page.locator(".oe-stages .oe-mini-edited").evaluate_all(
        "all => all.filter((n) => !n.style.display).length"
    )
    assert bars == 3
    assert f"Turned over: {name}." in page.locator(".oe-explorer-mind").inner_text()


@pytest.mark.parametrize("source", ["page", "kernel"])
@torch.no_grad()
def test_it_says_where_the_probe_was_wrong_about_a_square_before_the_push(site, parts, written, source):
    model, probe, _, _ = parts
    games, n = oe.Games.from_transcripts([LINE]), 30
    read_as = probe.logits(oe.residual_streams(model, games)[:, :, n - 1])[:, 0].argmax(-1).numpy()
    truth = oe.contents(oe.replay(games))[0, n - 1]
    misread = read_as != truth
    discs = np.flatnonzero(truth)
    some = next(square for square in discs if misread[1:, square].any() and not misread[1:, square].all())
    none = next(square for square in discs if not misread[1:, square].any())
    if source == "page":
        page = site(LayerExplorer(moves=LINE, ply=n, stage=1), site=True)
    else:
        widget = LayerExplorer(*parts, written=written, moves=LINE, ply=n, stage=1)
        page = site(widget, before=with_kernel(widget))
    read(page)
    choice = page.get_by_label("A disc to turn over in the network's mind")
    # The text is beside the choice, and read out when it changes.
    text = page.locator("section", has=choice).get_by_role("status")
    assert text.get_attribute("aria-live") == "polite"
    choice.select_option(oe.board.SQUARE_NAMES[some])
    page.locator(".oe-next + .oe-summary", has_text="turned over").wait_for()
    stages = [str(stage) for stage in range(1, 4) if misread[stage, some]]
    said = f"before the push, the probe reads {oe.board.SQUARE_NAMES[some]} wrongly at stage"
    said += f"{'s' if len(stages) > 1 else ''} {', '.join(stages)}. "
    assert said in text.inner_text()
    choice.select_option(oe.board.SQUARE_NAMES[none])
    text.filter(has_text=f"{oe.board.SQUARE_NAMES[none]} is read as").wait_for()
    assert "wrongly" not in text.inner_text()


@torch.no_grad()
def test_on_a_small_board_too_a_disc_is_turned_over_along_its_writing():
    torch.manual_seed(0)
    model = oe.GPT(oe.GPTConfig(board_size=6, n_layer=1, n_head=2, d_model=16)).eval()
    games = oe.random_games(40, seed=0, board_size=6)
    labels = oe.contents(oe.replay(games))[:, :-1][..., oe.engine.playable_squares(6)]
    streams = oe.residual_streams(model, games)
    probe, written = LinearProbe(epochs=1).fit(streams, labels), board_directions(streams, labels)
    line = games.transcript(0)
    widgets = [LayerExplorer(model, probe, written=along, moves=line, ply=9) for along in (None, written)]
    assert [widget.about["along"] for widget in widgets] == ["reading", "writing"]
    moves = [int(move) for move in games.moves[0, :9]]
    board = oe.Board.from_moves(line[:18], 6)
    changes = []
    for square in np.flatnonzero(board.contents):
        to = 2 if board.contents[square] == board.to_move else 1
        edit = {"square": square, "to": to, "from": 0}
        plain, along_reading, along_writing = (
            widget._run_network(moves, what)[1]
            for widget, what in ((widgets[0], None), (widgets[0], edit), (widgets[1], edit))
        )
        changes.append([np.abs(plain - along_writing).max(), np.abs(along_reading - along_writing).max()])
    assert (np.max(changes, axis=0) > 1e-4).all(), "it changes the moves, and is another push"


@pytest.mark.parametrize("source", ["page", "kernel"])
@torch.no_grad()
def test_features_and_what_excites_them_are_those_of_python(site, parts, source):
    model, _, saes, games = parts
    if source == "page":
        page = site(LayerExplorer(moves=LINE, ply=20, stage=2), site=True)
    else:
        widget = LayerExplorer(*parts, moves=LINE, ply=20, stage=2)
        page = site(widget, before=with_kernel(widget))
    read(page)
    line = oe.Games.from_transcripts([LINE])
    code = saes[2].encode(oe.residual_streams(model, line, [2])[0, 0, 19])
    value, feature = code.topk(6)
    shown = page.locator(".oe-features summary").all_inner_texts()
    assert shown == [f"feature {f}: {v:.2f}" for f, v in zip(feature, value, strict=True)]
    page.locator(".oe-features summary").first.click()
    page.locator(".oe-examples .oe-stage").nth(3).wait_for()
    best = saes[2].encode(oe.residual_streams(model, games, [2])[0])[..., feature[0]]
    best = best.masked_fill(oe.next_tokens(games) == 0, 0).amax(1).topk(4).values
    found = [float(text) for text in page.locator(".oe-examples .oe-stage").all_inner_texts()]
    np.testing.assert_allclose(found, best, atol=0.02)
    page.locator(".oe-examples .oe-stage").first.click()
    assert page.evaluate("state.moves.length === 2 * state.ply && state.ply > 0")


def test_a_game_of_the_library_is_loaded_and_stages_are_chosen(site):
    page = site(LayerExplorer(), site=True)
    page.get_by_label("A game to begin with").select_option("0")
    assert page.evaluate("[state.moves, state.ply]") == [LINE, 12]
    page.locator(".oe-stages .oe-stage").nth(1).click()
    assert page.evaluate("state.stage") == 1
    assert page.locator(".oe-stage[aria-pressed='true']").count() == 1
    page.get_by_label("Stage", exact=True).fill("3")
    assert page.locator(".oe-stage-name").inner_text() == "stage 3: after block 3"


def test_before_the_first_move_and_at_the_end_it_says_why_nothing_is_shown(site):
    page = site(LayerExplorer(moves=LINE, ply=0), site=True)
    assert all("nothing" in text for text in read(page))
    assert "It has read no move yet" in page.locator(".oe-explorer-mind").inner_text()
    page.get_by_role("button", name="Last position").click()
    page.get_by_text("never reads the last move").wait_for()


BELIEVED_DISCS = (
    ".oe-stages :is(.oe-mini-black, .oe-mini-white, .oe-mini-wrong:not([style*='none'])),"
    " .oe-believed :is(.oe-black, .oe-white, .oe-wrong)"
)


@pytest.mark.parametrize("when", ["at the start", "on a full board", "while loading", "without a network"])
def test_with_nothing_read_nothing_is_shown_as_believed_and_it_is_said_why(site, when):
    waits = []

    def before(page):
        if when == "while loading":
            page.route("**/explorer.json", lambda route: waits.append(route))
        if when == "without a network":
            page.route("**/explorer.json", lambda route: route.abort())

    full = when == "on a full board"
    page = site(
        LayerExplorer(moves=LINE, ply=60 if full else 0 if "start" in when else 20), site=True, before=before
    )
    why = {
        "at the start": "It has read no move yet",
        "on a full board": "It never reads the last move",
        "while loading": "Nothing has been read yet: the network is being loaded.",
        "without a network": "Nothing can be read: the network is not here.",
    }
    page.locator(".oe-summary", has_text=why[when]).wait_for()
    assert page.locator(BELIEVED_DISCS).count() == 0
    assert (
        page.locator(".oe-stage .oe-unread").count()
        == page.locator(".oe-stage[aria-label$='nothing']").count()
    )
    assert page.locator(".oe-stage .oe-unread").count() > 0
    assert page.locator(".oe-explorer-board :is(.oe-black, .oe-white)[data-square]").count() >= 4
    if when in ("at the start", "while loading"):
        for route in waits:
            route.continue_()
        page.get_by_role("slider", name="Number of moves played").fill("21")
        page.locator(".oe-stage[aria-label$='squares right']").first.wait_for()
        assert page.locator(BELIEVED_DISCS).count() > 4 and page.locator(".oe-stage .oe-unread").count() == 0


def test_without_weights_the_board_still_plays_and_says_what_is_missing(show):
    page = show(
        LayerExplorer(), before=lambda page: page.route("**/explorer.json", lambda r: r.fulfill(status=404))
    )
    alert = page.locator(".oe-explorer-mind .oe-error")
    alert.filter(has_text="The board can be played on").wait_for()
    assert "404" in alert.inner_text()
    page.locator(".oe-legal[data-square='f5']").click()
    assert page.evaluate("state.moves") == "f5"


def test_in_the_book_the_pages_network_answers_for_the_same_one_of_the_kernels(site, parts):
    page = site(LayerExplorer(*parts, moves=LINE, ply=9), site=True)
    assert read(page) == expected(parts, 9)


@pytest.fixture(scope="module")
def another(parts):
    """A network that the page does not have."""
    torch.manual_seed(2)
    return oe.GPT(oe.GPTConfig(n_layer=3, n_head=4, d_model=32)).eval(), *parts[1:]


def test_in_the_book_another_network_of_the_kernels_is_missed_and_the_board_still_plays(site, another):
    page = site(LayerExplorer(*another, moves=LINE, ply=9), site=True)
    page.locator(".oe-explorer-mind .oe-error", has_text="run the notebook to ask it").wait_for()
    assert page.locator(".oe-stage[aria-label$='nothing']").count() == 4
    page.locator("[data-square].oe-legal").first.click()
    assert page.evaluate("state.ply") == 10


@pytest.mark.parametrize("in_the_book", [True, False])
def test_a_line_that_travels_with_the_widget_needs_neither_kernel_nor_weights(site, another, in_the_book):
    widget = LayerExplorer(*another, moves=LINE[:40], ply=9, keep=True)
    page = site(widget, site=in_the_book, before=lambda page: page.clock.install())
    page.clock.run_for(11_000)  # outside of the book it waits for a kernel first
    page.wait_for_function(
        "!document.querySelector('.oe-stage').getAttribute('aria-label').endsWith('nothing')"
    )
    assert read(page) == expected(another, 9)
    assert page.locator(".oe-next .oe-bar-text").count() == 8
    page.locator(f"[data-square]:not([data-square='{LINE[18:20]}']).oe-legal").first.click()
    page.get_by_text("Only one line of moves came with this page").first.wait_for()


@torch.no_grad()
def test_arrays_are_shown_as_they_are(site, parts):
    model, probe, _, _ = parts
    games = oe.Games.from_transcripts([LINE])
    boards = probe.logits(oe.residual_streams(model, games)[:, 0]).softmax(-1)
    page = site(LayerExplorer(arrays=(boards, None), moves=LINE, ply=30, stage=2))
    assert read(page) == expected(parts, 30)
    assert "No probabilities came" in page.locator(".oe-explorer-mind").inner_text()
    assert page.get_by_label("A disc to turn over in the network's mind").is_disabled()
    said = page.locator(".oe-believed:not([hidden]) [data-square]").evaluate_all(
        "all => all.map((n) => n.getAttribute('aria-label'))"
    )
    p, position = boards[2, 29].numpy(), oe.Board.from_moves(LINE[:60])
    names = {0: "empty", 1: "black" if position.to_move == 1 else "white"}
    names[2] = {"black": "white", "white": "black"}[names[1]]
    for square, text in enumerate(said):
        name, kind = oe.board.SQUARE_NAMES[square], names[int(p[square].argmax())]
        assert text.startswith(f"{name}: {kind}, ")
        assert abs(int(text.split(", ")[1].split("%")[0]) - 100 * p[square].max()) < 1.1


def test_two_stages_are_compared_and_what_differs_is_outlined(site, parts):
    page = site(LayerExplorer(moves=LINE, ply=20, stage=1), site=True)
    read(page)
    boards = page.locator(".oe-believed:visible")
    assert boards.count() == 1 and page.locator(".oe-differs").count() == 0
    page.get_by_label("compare with").select_option("3")
    page.wait_for_function("document.querySelectorAll('.oe-believed:not([hidden])').length === 2")
    assert page.evaluate("state.compare") == 3
    colours = [
        boards.nth(at)
        .locator("[data-square]")
        .evaluate_all("all => all.map((n) => n.getAttribute('aria-label').split(/[,:;] ?/)[1])")
        for at in (0, 1)
    ]
    differ = sum(one != two for one, two in zip(*colours, strict=True))
    assert differ > 0 and page.locator(".oe-differs").count() == 2 * differ
    wrong = boards.first.locator(".oe-wrong").count()
    assert f"stage 1: {64 - wrong} of 64 squares right" in read(page)


@pytest.mark.parametrize(
    ("drawing", "mask"),
    [("paper", oe.stability.stable_paper), ("proven", oe.stability.stable_sound)],
)
def test_stable_discs_are_drawn_on_the_true_board(site, drawing, mask):
    page = site(LayerExplorer(moves=LINE, ply=52, drawing=drawing), site=True)
    read(page)
    marked = page.locator(".oe-explorer-board .oe-marked[data-square]").evaluate_all(
        "all => all.map((n) => n.dataset.square)"
    )
    ours = np.flatnonzero(mask(oe.Board.from_moves(LINE[:104]).contents))
    assert len(ours) and set(marked) == {oe.board.SQUARE_NAMES[at] for at in ours}
    assert f"({len(ours)})" in page.locator(".oe-legend").inner_text()


def test_discs_seen_to_be_turned_over_are_none_of_those_proven_stable(site):
    page = site(LayerExplorer(moves=LINE, ply=40, drawing="refuted"), site=True)
    read(page)
    marked = page.locator(".oe-explorer-board .oe-marked[data-square]").evaluate_all(
        "all => all.map((n) => n.dataset.square)"
    )
    proven = oe.stability.stable_sound(oe.Board.from_moves(LINE[:80]).contents)
    assert len(marked) > 5
    assert not {oe.board.SQUARE_NAMES[at] for at in np.flatnonzero(proven)} & set(marked)


def test_a_feature_that_was_opened_stays_open_while_the_game_goes_on(site, parts):
    page = site(LayerExplorer(moves=LINE, ply=20, stage=2), site=True)
    read(page)
    name = page.locator(".oe-features summary").first.inner_text().split(":")[0]
    page.locator(".oe-features summary").first.click()
    page.locator(".oe-examples .oe-stage").first.wait_for()
    page.get_by_label("compare with").select_option("1")
    page.wait_for_function("document.querySelectorAll('.oe-believed:not([hidden])').length === 2")
    opened = page.locator(".oe-features details[open] summary")
    assert opened.first.inner_text().startswith(name)
    page.locator(".oe-examples .oe-stage").first.wait_for()


# Use by everyone --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_explorer_has_no_serious_barrier(site, barriers, scheme):
    widget = LayerExplorer(moves=LINE, ply=20, stage=1, compare=3, drawing="next")
    page = site(widget, site=True, color_scheme=scheme)
    read(page)
    page.locator(".oe-features summary").first.click()
    page.locator(".oe-examples .oe-stage").first.wait_for()
    page.locator("[data-square='a1'].oe-square").first.click()  # and an error message
    assert barriers(page) == []


def test_the_explorer_fits_a_window_of_320_pixels(site):
    widget = LayerExplorer(moves=LINE, ply=20, stage=1, compare=3, drawing="refuted")
    page = site(widget, site=True, viewport={"width": 320, "height": 700}, has_touch=True)
    read(page)
    page.locator(".oe-features summary").first.tap()
    page.locator(".oe-examples .oe-stage").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    sizes = page.locator("button, select, .oe-explorer-board [data-square]").evaluate_all(
        "all => all.filter((b) => b.offsetParent).map((b) => b.getBoundingClientRect())"
    )
    assert min(min(size["width"], size["height"]) for size in sizes) >= 24  # WCAG 2.5.8


def test_every_control_is_reached_with_the_tabulator(site):
    page = site(LayerExplorer(moves=LINE, ply=20, stage=1, compare=3), site=True)
    read(page)
    page.locator("body").click(position={"x": 1, "y": 1})
    reached = set()
    for _ in range(45):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("""() => {
            const at = document.activeElement, style = getComputedStyle(at);
            const name = at.getAttribute("aria-label") ?? at.closest("label")?.innerText.split("\\n")[0];
            return at.closest(".oe-widget") ? `${name ?? at.innerText}|${style.outlineStyle}` : "";
        }""")
        )
    names = {text.split("|")[0] for text in reached}
    for part in ("A game to begin with", "Stage", "compare with", "on the board:", "Undo"):
        assert any(name.strip().startswith(part) for name in names), (part, names)
    assert any(name.startswith("stage 2: ") for name in names)
    assert any(name.startswith("feature ") for name in names)
    assert {text.split("|")[1] for text in reached if text} == {"solid"}


def test_after_two_thousand_events_it_shows_what_python_has(site, parts):
    page = site(LayerExplorer(), site=True)
    page.wait_for_function("document.querySelector('.oe-explorer-mind > .oe-error').textContent === ''")
    states = page.evaluate("""async () => {
        let seed = 54321;
        const random = (n) => {
            seed = (seed * 1103515245 + 12345) % 2147483648;
            return Math.floor((seed / 2147483648) * n);
        };
        const pick = (all) => all[random(all.length)];
        const all = (selector) => [...document.querySelectorAll(selector)];
        const fire = (node, kind) => node.dispatchEvent(new Event(kind, { bubbles: true }));
        const seen = [];
        for (let n = 0; n < 2000; n += 1) {
            const what = random(20), legal = all(".oe-explorer-board .oe-legal[data-square]");
            if (what < 9 && legal.length) pick(legal).click();
            else if (what < 11) pick(all(".oe-explorer-board [data-square]")).click();
            else if (what < 13) pick(all(".oe-controls button")).click();
            else if (what < 15) pick(all(".oe-stages .oe-stage")).click();
            else if (what < 17) {
                const select = pick(all("select"));
                select.value = pick([...select.options])?.value ?? "";
                fire(select, "change");
            } else if (what < 18) {
                const slider = pick(all("input[type=range]"));
                slider.value = random(61);
                fire(slider, "input");
            } else pick(all("details summary, .oe-examples button"))?.click();
            await new Promise((resolve) => setTimeout(resolve, n % 10 ? 0 : 4));
            if (n % 20 === 0) seen.push([state.moves, state.ply, state.flip, state.stage]);
        }
        return seen;
    }""")
    assert max(ply for _, ply, _, _ in states) > 20 and any(flip for _, _, flip, _ in states)
    for moves, ply, _, _ in states:
        oe.Board.from_moves(moves)
        assert 0 <= ply <= len(moves) // 2
    page.get_by_label("A disc to turn over in the network's mind").select_option("")
    page.evaluate("model.set('flip', '')")
    if page.evaluate("state.ply") == 0:
        page.locator(".oe-explorer-board .oe-legal[data-square]").first.click()
    page.wait_for_timeout(100)
    moves, ply = page.evaluate("[state.moves, state.ply]")
    assert read(page) == expected(parts, min(ply, 59), moves)


# What it refuses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m, p, s, g: LayerExplorer(m), "a model and a probe"),
        (
            lambda m, p, s, g: LayerExplorer(oe.GPT(oe.GPTConfig(n_layer=2, d_model=32)), p),
            r"needs \(3, 64\)",
        ),
        (lambda m, p, s, g: LayerExplorer(m, p, s[:2]), "2 autoencoders for 4 stages"),
        (lambda m, p, s, g: LayerExplorer(m, p, stage=4), "stages 0 to 3"),
        (lambda m, p, s, g: LayerExplorer(m, p, compare=-2), "compare is -2; .* stages 0 to 3"),
        (lambda m, p, s, g: LayerExplorer(drawing="stable"), "drawing is 'stable'"),
        (lambda m, p, s, g: LayerExplorer(flip="j9"), "flip is 'j9' after 0 moves: 'j9' is not a square"),
        (
            lambda m, p, s, g: LayerExplorer(moves="f5", flip="a1"),
            "flip is 'a1' after 1 moves: no disc is there",
        ),
        (
            lambda m, p, s, g: LayerExplorer(moves="f5", ply=0, flip="f5"),
            "flip is 'f5' after 0 moves: no disc",
        ),
        (lambda m, p, s, g: LayerExplorer(moves="e6f4e3f6g5d6e7f5c5", flip="e4"), "the game is over"),
        (lambda m, p, s, g: LayerExplorer(m, p, arrays=(np.ones(3),)), "not both"),
        (lambda m, p, s, g: LayerExplorer(arrays=(np.ones((2, 1, 64)),), moves="f5"), r"\(2, 1, 64\)"),
        (lambda m, p, s, g: LayerExplorer(arrays=(np.ones((2, 2, 64, 3)) / 3,), moves="f5"), "1 moves need"),
        (lambda m, p, s, g: LayerExplorer(arrays=(np.ones((2, 1, 64, 3)),), moves="f5"), "add up to one"),
        (
            lambda m, p, s, g: LayerExplorer(arrays=(np.ones((2, 1, 64, 3)) / 3, np.ones(64)), moves="f5"),
            "next moves have shape",
        ),
        (lambda m, p, s, g: explorer_file(m, p, p.weight, s[:2], g), "2 autoencoders for 4 stages"),
        (
            lambda m, p, s, g: explorer_file(oe.GPT(oe.GPTConfig(n_layer=2, d_model=32)), p, p.weight, s, g),
            "it needs",
        ),
        (
            lambda m, p, s, g: explorer_file(m, p, p.weight[:2], s, g),
            r"written has shape \[2, 64, 3, 32\]; .* \[4, 64, 3, 32\]",
        ),
        (lambda m, p, s, g: LayerExplorer(m, p, written=p.weight[:2]), r"written has shape \[2, 64, 3, 32\]"),
        (lambda m, p, s, g: LayerExplorer(written=p.weight), "it needs a model"),
    ],
)
def test_what_does_not_fit_is_refused(parts, change, message):
    with pytest.raises(OthelloEduError, match=message):
        change(*parts)


def test_a_disc_is_no_longer_turned_over_where_the_game_has_taken_it_away():
    explorer = LayerExplorer(moves="f5d6c3", flip="d6")
    explorer.play("d3")
    assert explorer.flip == "d6"
    explorer.ply = 1
    assert explorer.flip == ""
    with pytest.raises(OthelloEduError, match="no disc is there"):
        explorer.flip = "d6"
    assert explorer.flip == ""


# Several on one page ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_explorers(root, tmp_path_factory):
    """A page with two directives, built by Sphinx alone."""
    source = tmp_path_factory.mktemp("two")
    (source / "_build" / "explorer").mkdir(parents=True)
    (source / "_build" / "explorer" / "explorer.svg").write_text("<svg><title>A board</title></svg>")
    extension = str(root / "book" / "_ext")
    (source / "conf.py").write_text(
        f"import sys\nsys.path.insert(0, {extension!r})\n"
        "extensions, exclude_patterns = ['explorer_page'], ['_build']\n"
    )
    explorers = [
        ".. explorer::\n\n   One | moves=f5d6 | there.",
        ".. explorer::\n\n   Two | moves=d3c5 | there.",
    ]
    (source / "index.rst").write_text("Two\n===\n\n" + "\n\n".join(explorers) + "\n\n.. explorer::\n")
    built = source / "_build" / "html"
    command = [sys.executable, "-m", "sphinx", "-q", "-W", source, built]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return (built / "index.html").as_uri()


def test_explorers_of_one_page_have_names_and_addresses_of_their_own(browser, two_explorers):
    page = browser.new_page()
    page.goto(two_explorers)
    ids = page.locator("[id]").evaluate_all("all => all.map((node) => node.id)")
    assert len(ids) == len(set(ids))
    assert [name for name in ids if name.startswith("layer-explorer")] == [
        "layer-explorer",
        "layer-explorer-2",
        "layer-explorer-3",
    ]
    explorers = page.locator(".oe-explorer")

    def shown():
        return [explorers.nth(at).get_by_role("textbox").input_value() for at in range(3)]

    assert shown() == ["f5d6", "d3c5", ""]
    explorers.nth(1).locator(".oe-explorer-board [data-square='d6']").click()
    page.wait_for_function("location.hash === '#explorer=2&moves=d3c5d6'")
    assert shown() == ["f5d6", "d3c5d6", ""]
    page.reload()
    assert shown() == ["f5d6", "d3c5d6", ""], "the address leads back to it"
    page.get_by_role("link", name="Two").click()
    page.wait_for_function("document.querySelectorAll('.oe-moves [type=text]')[1].value === 'd3c5'")
    explorers.nth(0).get_by_role("button", name="Start of the game").click()
    page.wait_for_function("location.hash === '#moves=f5d6&ply=0'")
    page.reload()
    assert (
        explorers.first.get_by_role("slider", name="Number of moves played").get_attribute("aria-valuetext")
        == "move 0 of 2"
    )
    assert shown() == ["", "d3c5", ""]
    page.close()


@torch.no_grad()
def test_topk_is_packed_as_one_matrix_and_one_bias(parts):
    from othello_edu.widgets.explorer_file import encoder_of

    sae = TopK(32, 48, 6, seed=3)
    sae.b_dec.data = torch.randn(32)
    x = torch.randn(20, 32)
    weight, bias = encoder_of(sae)
    np.testing.assert_allclose(x @ weight.T + bias, sae.hidden_pre(x), atol=1e-5)


def test_the_files_of_a_site_name_each_other_and_old_ones_go(parts, written, tmp_path):
    content = explorer_file(*parts[:2], written, *parts[2:])
    (tmp_path / "explorer-old.safetensors").write_bytes(b"")
    name = write_explorer(tmp_path, content, parts[0], made_from="x")
    manifest = json.loads((tmp_path / "explorer.json").read_text())
    assert manifest == {"weights": name, "network": fingerprint(parts[0]), "made_from": "x"}
    assert (tmp_path / name).read_bytes() == content
    found = {path.name for path in tmp_path.iterdir()}
    assert found == {name, name.replace("safetensors", "js"), "explorer.json", "explorer.js"}


def test_two_networks_have_different_fingerprints_and_a_rounded_one_the_same(parts):
    model = parts[0]
    again = oe.GPT(model.config)
    again.load_state_dict({name: value.half() for name, value in model.state_dict().items()})
    assert fingerprint(again) == fingerprint(model)
    with torch.no_grad():
        again.head.weight[0, 0] += 0.5
    assert fingerprint(again) != fingerprint(model)
