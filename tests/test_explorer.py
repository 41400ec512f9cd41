"""`LayerExplorer`: what it shows is what Python computes, in a page alone and with a kernel."""

import json

import numpy as np
import pytest
import torch

import othello_edu as oe
from othello_edu.errors import OthelloEduError
from othello_edu.interventions import Cases, probe_edits
from othello_edu.probes import LinearProbe
from othello_edu.sae import SparseAutoencoder, TopK
from othello_edu.widgets import LayerExplorer
from othello_edu.widgets.explorer_file import explorer_file

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
    probe.weight, probe.bias = probe.weight.half().float(), probe.bias.half().float()
    saes = [SparseAutoencoder(32, 48, seed) for seed in range(model.n_stages)]
    for sae in saes:
        sae.weight.data = sae.weight.data.half().float()
    return model, probe, saes, games


@pytest.fixture(scope="module")
def site(show, parts):
    """The explorer's file beside the page."""
    library = [{"name": "A line", "moves": LINE, "ply": 12}]
    (show.folder / "explorer-0.safetensors").write_bytes(explorer_file(*parts, library))
    (show.folder / "explorer.json").write_text(json.dumps({"weights": "explorer-0.safetensors"}))
    return show


def read(page):
    """What the explorer says of each stage."""
    page.wait_for_function("document.querySelector('.oe-stage[aria-pressed]') !== null")
    return page.locator(".oe-stages .oe-stage").evaluate_all(
        "all => all.map((n) => n.getAttribute('aria-label'))"
    )


@torch.no_grad()
def expected(parts, n_moves):
    model, probe, _, _ = parts
    games = oe.Games.from_transcripts([LINE[: 2 * n_moves]])
    streams = oe.residual_streams(model, games)[:, 0, n_moves - 1]
    found = probe.logits(streams[:, None])[:, 0].argmax(-1).numpy()
    truth = oe.contents(oe.replay(games))[0, n_moves - 1]
    right = (found == truth).sum(1)
    return [f"stage {stage}: {n} of 64 squares right" for stage, n in enumerate(right)]


def with_kernel(widget):
    """A stand-in for the connection to the kernel: questions go to the widget in this process."""

    def before(page):
        def asked(content):
            try:
                answer, buffers = widget._found(content)
            except OthelloEduError as error:
                answer, buffers = {"error": str(error)}, None
            return {"answer": {"id": content["id"]} | answer, "buffers": [list(b) for b in buffers or []]}

        page.expose_function("ofPython", asked)
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
def test_a_disc_turned_over_in_its_mind_is_pythons_edit(site, parts):
    model, probe, _, _ = parts
    widget = LayerExplorer(*parts, moves=LINE, ply=15)
    board = oe.Board.from_moves(LINE[:30])
    square = int(np.flatnonzero(board.contents)[3])
    to = 2 if board.contents[square] == board.to_move else 1
    moves = [oe.board.parse_square(LINE[at : at + 2]) for at in range(0, 30, 2)]
    _, ours, _ = widget._look(moves, {"square": square, "to": to, "from": 1})
    nothing = np.zeros((1, 61), bool)
    case = Cases(*(np.array([v]) for v in (0, 14, square, 3 - to, to)), nothing, nothing)
    edits = probe_edits(probe, case, range(1, 4))
    games = oe.Games.from_transcripts([LINE[:30]])
    p = model(oe.tokens(games)[:, :15], edits)[0, -1, 1:].softmax(-1)
    np.testing.assert_allclose(ours[oe.games.move_squares(8)[1:]], p, atol=1e-6)

    name = oe.board.SQUARE_NAMES[square]
    page = site(LayerExplorer(moves=LINE, ply=15, stage=1), site=True)
    read(page)
    page.get_by_label("A disc to turn over in the network's mind").select_option(name)
    page.locator(".oe-next + .oe-summary", has_text="turned over").wait_for()
    shown = page.locator(".oe-next .oe-bar-text").all_inner_texts()
    order = np.argsort(-ours, kind="stable")[:8]
    assert [text.split()[0] for text in shown] == [oe.board.SQUARE_NAMES[at] for at in order]
    assert (
        f"From stage 1 on, {name} is read as the other colour"
        in page.locator(".oe-explorer-mind").inner_text()
    )


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
    assert page.locator(".oe-stage-name").inner_text() == "3: after block 3"


def test_before_the_first_move_and_at_the_end_it_says_why_nothing_is_shown(site):
    page = site(LayerExplorer(moves=LINE, ply=0), site=True)
    assert all("nothing" in text for text in read(page))
    assert "It has read no move yet" in page.locator(".oe-explorer-mind").inner_text()
    page.get_by_role("button", name="Last position").click()
    page.get_by_text("never reads the last move").wait_for()


def test_without_weights_the_board_still_plays_and_says_what_is_missing(show):
    page = show(
        LayerExplorer(), before=lambda page: page.route("**/explorer.json", lambda r: r.fulfill(status=404))
    )
    alert = page.locator(".oe-explorer-mind .oe-error")
    alert.filter(has_text="The board can be played on").wait_for()
    assert "404" in alert.inner_text()
    page.locator("[data-square='f5']").click()
    assert page.evaluate("state.moves") == "f5"


def test_a_network_of_the_kernels_is_not_shown_as_another_where_there_is_no_kernel(site, parts):
    page = site(LayerExplorer(*parts, moves=LINE, ply=9), site=True)
    page.locator(".oe-explorer-mind .oe-error", has_text="does not answer").wait_for()
    assert all("nothing" in text for text in read(page))
    page.locator("[data-square].oe-legal").first.click()
    assert page.evaluate("state.ply") == 10


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
        (lambda m, p, s, g: explorer_file(m, p, s[:2], g), "2 autoencoders for 4 stages"),
        (lambda m, p, s, g: explorer_file(oe.GPT(oe.GPTConfig(n_layer=2, d_model=32)), p, s, g), "it needs"),
    ],
)
def test_what_does_not_fit_is_refused(parts, change, message):
    with pytest.raises(OthelloEduError, match=message):
        change(*parts)


@torch.no_grad()
def test_topk_is_packed_as_one_matrix_and_one_bias(parts):
    from othello_edu.widgets.explorer_file import encoder_of

    sae = TopK(32, 48, 6, seed=3)
    sae.centre.data = torch.randn(32)
    x = torch.randn(20, 32)
    weight, bias = encoder_of(sae)
    np.testing.assert_allclose(x @ weight.T + bias, sae.before(x), atol=1e-5)
