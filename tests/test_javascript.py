"""The rule book and the network a second time, in JavaScript: Node must say what Python says."""

import itertools
import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import transcript_cases

import othello_edu as oe
from othello_edu import drawing
from othello_edu.board import SQUARE_NAMES
from othello_edu.errors import OthelloEduError
from othello_edu.interventions import Cases, probe_edits
from othello_edu.pretrained import model_folder
from othello_edu.probes import LinearProbe
from othello_edu.widgets import modules
from othello_edu.widgets.modules import FOLDER, bundle, esm


@pytest.fixture(scope="module")
def run(node, tmp_path_factory):
    """Runs lines of JavaScript with the modules at hand as `othello` and `network`, and `given`; what they
    return comes back.
    """
    folder = tmp_path_factory.mktemp("javascript")

    def call(code, given=None, extra=""):
        (folder / "given.json").write_text(json.dumps(given))
        (folder / "run.mjs").write_text(
            f"""import fs from "node:fs";
import * as othello from {json.dumps((FOLDER / "othello.js").as_uri())};
import * as network from {json.dumps((FOLDER / "network.js").as_uri())};
const given = JSON.parse(fs.readFileSync({json.dumps(str(folder / "given.json"))}));
const file = (path) => {{
  const b = fs.readFileSync(path);
  return b.buffer.slice(b.byteOffset, b.byteOffset + b.byteLength);
}};
const problem = (action) => {{ try {{ action(); }} catch (error) {{ return error.message; }} return null; }};
{extra}
const answer = (() => {{ {code} }})();
process.stdout.write(JSON.stringify(answer, (_, v) => ArrayBuffer.isView(v) ? Array.from(v) : v));
"""
        )
        done = subprocess.run([node, folder / "run.mjs"], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return call


# Rules ------------------------------------------------------------------------------------------------

REPLAY = """
return given.moves.map((moves) => othello.replay(moves, given.size).slice(1).map((p) =>
  [p.board.join(""), p.toMove, p.legal, p.mover, p.passed]));
"""


def agree(run, games):
    """Node's boards, players and legal moves of games are Python's; returns how many positions and passes."""
    moves = [[int(move) for move in row if move >= 0] for row in games.moves]
    found = run(REPLAY, {"moves": moves, "size": games.board_size})
    positions, passes = oe.replay(games), 0
    for game, of_game in enumerate(found):
        assert len(of_game) == games.lengths[game]
        for ply, (board, to_move, legal, mover, passed) in enumerate(of_game):
            assert board == "".join(map(str, positions.boards[game, ply])), (game, ply)
            assert to_move == positions.to_move[game, ply], (game, ply)
            assert legal == np.flatnonzero(positions.legal[game, ply]).tolist(), (game, ply)
            assert passed in (0, 3 - mover) and (passed > 0) == (to_move == mover)
            passes += passed > 0
    return sum(map(len, found)), passes


@pytest.mark.parametrize(("board_size", "n_games"), [(4, 500), (6, 1000), (8, 2000)])
def test_random_games_are_replayed_as_python_replays_them(run, board_size, n_games):
    n_positions, passes = agree(run, oe.random_games(n_games, seed=12, board_size=board_size))
    assert n_positions > 5 * n_games and passes > 0


def test_human_games_are_replayed_as_python_replays_them(run, shared_data):
    path = max(shared_data.glob("**/*.wtb"), key=lambda path: path.stat().st_size, default=None)
    if path is None:
        pytest.skip("no WTHOR file in shared/data")
    assert agree(run, oe.read_wthor(path)[:300])[0] > 10_000


def test_flips_are_those_of_python(run):
    games = oe.random_games(30, seed=13)
    boards, asked = [], []
    for game in range(len(games)):
        board = games.board(game, 20 + game)
        boards.append(board)
        asked.append({"board": board.contents.tolist(), "player": int(board.to_move)})
    found = run(
        "const squares = [...Array(64).keys()];"
        "return given.map(({board, player}) => squares.map((s) => othello.flips(board, s, player)));",
        asked,
    )
    for board, of_board in zip(boards, found, strict=True):
        for square, name in enumerate(SQUARE_NAMES):
            flipped = board.flips(name) if name in board.legal_moves else ()
            assert {SQUARE_NAMES[s] for s in of_board[square]} == set(flipped)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("f5d6x3", "Move 3: “x3” is neither a square (a1 to h8) nor a pass"),
        ("f5d6a1", "Move 3: black cannot play a1: it turns nothing over (legal: "),
        ("f5f5", "Move 2: white cannot play f5: the square is taken"),
        ("f5d", "Move 2: “d” is neither a square"),
        ("f5--d6", "Move 2: white passes but can play f4, d6, f6"),
        (f"{transcript_cases.WIPE_OUT} -- -- --", "Move 10: nobody passes but can play nothing"),
        ("f5 d6 34-30 c3", "Move 3: “c3” follows the result 34-30"),
    ],
)
def test_a_transcript_that_is_wrong_is_told_where(run, text, message):
    assert run("return problem(() => othello.parseTranscript(given));", text).startswith(message)


PARSE = """
return given.map(([text, size]) => {
  try {
    return othello.transcript(othello.parseTranscript(text, size));
  } catch (error) {
    return [error.message];
  }
});
"""


def test_transcripts_are_read_as_people_write_them(run):
    """The table that `test_transcripts.py` goes through in Python."""
    found = run(PARSE, [case[:2] for case in transcript_cases.READ])
    for (text, _, moves), answer in zip(transcript_cases.READ, found, strict=True):
        assert answer == moves, text


def test_transcripts_are_refused_where_python_refuses_them(run):
    found = run(PARSE, [case[:2] for case in transcript_cases.REFUSED])
    for (text, _, ply), answer in zip(transcript_cases.REFUSED, found, strict=True):
        assert isinstance(answer, list) and answer[0].startswith(f"Move {ply + 1}: "), (text, answer)


def in_python(text, board_size):
    try:
        return oe.Games.from_transcripts([text], board_size).transcript(0)
    except OthelloEduError:
        return None


def agree_on_texts(run, texts):
    """Node and Python read, and refuse, the same texts; returns how many they read."""
    wanted = [in_python(*text) for text in texts]
    found = [answer if isinstance(answer, str) else None for answer in run(PARSE, texts)]
    for text, answer, moves in zip(texts, found, wanted, strict=True):
        assert answer == moves, text
    return sum(moves is not None for moves in wanted)


def test_texts_put_together_at_random_are_read_or_refused_as_in_python(run):
    rng = random.Random(31)
    marks = [*" ,;|-#.*\nxf5", "--", "1.", "2 .", "3...", "pa", "PASS", "ps", "34-30", "1/2-1/2"]
    texts = []
    for size in (4, 6, 8):
        games = oe.random_games(700, seed=31, board_size=size)
        for game in range(len(games)):
            moves = re.findall("..", games.transcript(game))
            words = moves[: rng.randrange(len(moves) + 1)]
            for _ in range(rng.randrange(6)):
                words.insert(rng.choice([rng.randrange(len(words) + 1), len(words)]), rng.choice(marks))
            texts.append([rng.choice(["", " ", "-"]).join(words), size])
        # Somebody passes wherever it is written; it is legal in one place of many games.
        to_move = oe.replay(games).to_move
        for game, ply in np.argwhere((to_move[:, 1:] == to_move[:, :-1]) & (to_move[:, 1:] > 0))[:200]:
            line = games.transcript(game)
            at = 2 * (ply + rng.choice([1, 2, 2, 2, 3]))
            texts.append([line[:at] + rng.choice(["--", " pa ", "pass"]) + line[at:], size])
    n_read = agree_on_texts(run, texts)
    assert 800 < n_read < len(texts) - 800


def test_every_character_separates_moves_in_both_or_in_neither(run):
    characters = [chr(code) for code in range(0x10000) if not 0xD800 <= code < 0xE000]
    n_read = agree_on_texts(run, [[f"f5{character}d6", 8] for character in characters])
    assert 25 < n_read < 50


def test_squares_outside_a_small_board_are_refused(run):
    found = run("return problem(() => othello.parseTranscript('a1', 6));")
    assert "there is no such square on 6x6" in found


def test_a_game_that_is_over_takes_no_move(run):
    games = oe.random_games(1, seed=1, board_size=4)
    moves = [int(move) for move in games.moves[0] if move >= 0]
    code = "return problem(() => othello.play(othello.replay(given, 4).at(-1), 18));"
    assert run(code, moves).endswith("the game is over")


@pytest.mark.parametrize("board_size", [4, 6, 8])
def test_tokens_are_those_of_python(run, board_size):
    games = oe.random_games(20, seed=3, board_size=board_size)
    token = run("return othello.vocabulary(given).token;", board_size)
    ours = oe.tokens(games).numpy()
    for row, moves in zip(ours, games.moves, strict=True):
        assert [token[move] for move in moves[: len(row)] if move >= 0] == [t for t in row if t > 0]


# The network ------------------------------------------------------------------------------------------

LOAD = """
const net = new network.Network(network.readSafetensors(file(given.path)), given.config);
"""


def as_given(model, path, **more):
    config = {name: getattr(model.config, name) for name in ("board_size", "n_layer", "n_head", "d_model")}
    return {"path": str(path), "config": config, **more}


@pytest.fixture(scope="module")
def small():
    return oe.load_pretrained("small"), model_folder("small") / "model.safetensors"


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """Another shape, another board, float32, and weights large enough that nothing is near zero."""
    torch.manual_seed(0)
    model = oe.GPT(oe.GPTConfig(board_size=6, n_layer=2, n_head=3, d_model=24)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    path = tmp_path_factory.mktemp("odd") / "model.safetensors"
    path.write_bytes(safetensors.torch.save(model.state_dict()))
    return model, path


@pytest.mark.parametrize("name", ["small", "odd"])
@torch.no_grad()
def test_logits_and_every_stage_are_those_of_python(run, name, request):
    model, path = request.getfixturevalue(name)
    games = oe.random_games(8, seed=14, board_size=model.config.board_size)
    tokens = [[int(t) for t in row if t > 0] for row in oe.tokens(games)]
    found = run(
        "return given.tokens.map((tokens) => net.run(tokens).map((s) => [s.logits, s.streams]));",
        as_given(model, path, tokens=tokens),
        LOAD,
    )
    for row, of_game in zip(tokens, found, strict=True):
        logits, cache = model.run_with_cache(torch.tensor([row]), names=["resid_post"])
        np.testing.assert_allclose(np.array([p[0] for p in of_game]), logits[0], atol=1e-3)
        streams = np.array([p[1] for p in of_game]).transpose(1, 0, 2)
        np.testing.assert_allclose(streams, cache["resid_post"][:, 0], atol=1e-3)


def test_a_network_that_goes_back_and_on_reads_as_one_that_starts_anew(run, small):
    """Undo and other moves: kept keys and values must not leak into another line of play."""
    model, path = small
    one, two = ([int(t) for t in row] for row in oe.tokens(oe.random_games(2, seed=15))[:, :30])
    lines = [one, one[:12], one[:12] + two[12:20], two, one]
    code = """
    const tensors = network.readSafetensors(file(given.path));
    return given.lines.map((line) => {
      const kept = net.run(line), fresh = new network.Network(tensors, given.config).run(line);
      const off = kept.map((p, i) => Math.max(...p.logits.map((v, j) => Math.abs(v - fresh[i].logits[j]))));
      return [kept.length, Math.max(...off)];
    });
    """
    found = run(code, as_given(model, path, lines=lines), LOAD)
    assert found == [[len(line), 0] for line in lines]


@torch.no_grad()
def test_an_edit_of_the_last_stream_is_pythons_and_leaves_no_trace(run, small):
    model, path = small
    tokens = [int(t) for t in oe.tokens(oe.random_games(1, seed=16))[0, :25]]
    vector = torch.randn(128, generator=torch.Generator().manual_seed(0))
    code = """
    const before = net.run(given.tokens).at(-1).logits;
    const add = (stage) => (at, x) => at === stage && given.vector.forEach((by, i) => (x[i] += by));
    const edited = [0, 4, 8].map((stage) => net.runEdited(given.tokens, add(stage)).logits);
    return {before, edited, after: net.run(given.tokens).at(-1).logits};
    """
    found = run(code, as_given(model, path, tokens=tokens, vector=vector.tolist()), LOAD)
    assert found["before"] == found["after"]
    for stage, logits in zip((0, 4, 8), found["edited"], strict=True):

        def edit(x):
            x = x.clone()
            x[:, -1] += vector
            return x

        ours = model(torch.tensor([tokens]), edits={("resid_post", stage): edit})[0, -1]
        np.testing.assert_allclose(logits, ours, atol=1e-3)
        assert np.abs(np.array(logits) - found["before"]).max() > 0.1


@torch.no_grad()
def test_a_push_along_the_writing_is_that_of_python(run):
    """Turned over in either direction, and left alone where the probe agrees or the push would not help."""
    random = torch.Generator().manual_seed(0)
    d, n_squares, n = 16, 64, 40
    probe = LinearProbe.from_weights(
        torch.randn(1, n_squares, 3, d, generator=random), torch.randn(1, n_squares, 3, generator=random)
    )
    written = torch.randn(1, n_squares, 3, d, generator=random)
    written += 0.5 * probe.weight
    streams = torch.randn(n, 1, d, generator=random)
    before = torch.randint(1, 3, (n,), generator=random).numpy()
    column, square = np.arange(n), np.arange(n)
    cases = Cases(column, 0 * column, square, before, 3 - before, np.zeros((n, 1)), np.zeros((n, 1)))
    expected = probe_edits(probe, cases, [0], along=written)["resid_post", 0](streams)[:, 0]
    moved = (expected != streams[:, 0]).any(-1)
    assert 5 < moved.sum() < n - 5, "some are pushed and some are not"
    code = """
    const probe = {weight: given.weight, bias: given.bias, kinds: 3};
    const writing = Float32Array.from(given.writing);
    return given.streams.map((stream, at) => {
      network.pushStream(probe, writing, stream, given.square[at], given.before[at], 3 - given.before[at]);
      return stream;
    });"""
    found = run(
        code,
        {
            "weight": probe.weight.flatten().tolist(),
            "bias": probe.bias.flatten().tolist(),
            "writing": (written[0, :, 2] - written[0, :, 1]).flatten().tolist(),
            "streams": streams[:, 0].tolist(),
            "square": square.tolist(),
            "before": before.tolist(),
        },
    )
    np.testing.assert_allclose(found, expected, atol=1e-3)
    np.testing.assert_allclose(np.array(found)[~moved], streams[:, 0][~moved], atol=1e-6)


def test_probes_read_the_same_wherever_the_margin_is_not_tiny(run, small):
    model, path = small
    games = oe.random_games(40, seed=17)
    streams, labels = oe.residual_streams(model, games), oe.contents(oe.replay(games))[:, :-1]
    probe = LinearProbe(epochs=1).fit(streams, labels)
    stage, game = 5, 0
    logits = probe.logits(streams[:, :1])[stage, 0]
    code = """
    const probe = {kinds: 3, weight: given.weight, bias: given.bias};
    return net.run(given.tokens).map((p) => network.readProbe(probe, p.streams[given.stage]));
    """
    given = as_given(
        model,
        path,
        tokens=oe.tokens(games)[game].tolist(),
        stage=stage,
        weight=probe.weight[stage].flatten().tolist(),
        bias=probe.bias[stage].flatten().tolist(),
    )
    found = np.array(run(code, given, LOAD)).reshape(-1, 64, 3)
    np.testing.assert_allclose(found, logits.softmax(-1), atol=1e-3)
    ordered = logits.sort(-1).values
    clear = (ordered[..., 2] - ordered[..., 1] > 1e-2).numpy()
    assert clear.mean() > 0.9
    assert (found.argmax(-1) == logits.argmax(-1).numpy())[clear].all()


def test_probabilities_leave_padding_out(run):
    found = run("return network.softmax([50, 1, 2, 3]);")
    assert found[0] == 0
    np.testing.assert_allclose(found[1:], np.exp([1, 2, 3]) / np.exp([1, 2, 3]).sum(), rtol=1e-6)


def test_every_half_precision_number_is_decoded(run):
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float64)
    found = run(
        "return Array.from(network.decodeFloat16(Uint16Array.from({length: 65536}, (_, i) => i)),"
        " (v) => Number.isNaN(v) ? 'nan' : v === Infinity ? 'inf' : v === -Infinity ? '-inf' : v);"
    )
    np.testing.assert_array_equal(np.array(found, dtype=np.float64), halves)


def test_the_error_function_is_exact_to_ten_digits(run):
    points = np.linspace(-7, 7, 281).tolist()
    found = run("return given.map(network.erf);", points)
    np.testing.assert_allclose(found, [math.erf(x) for x in points], atol=1e-10)


@pytest.mark.parametrize("keep", [4, 500, 100_000])
def test_weights_that_are_cut_off_are_refused(run, small, tmp_path, keep):
    path = tmp_path / "short.safetensors"
    path.write_bytes(small[1].read_bytes()[:keep])
    found = run("return problem(() => network.readSafetensors(file(given)));", str(path))
    assert "cut off" in found


def test_weights_of_another_kind_are_named(run, small, odd, tmp_path):
    code = (
        "return problem(() => new network.Network(network.readSafetensors(file(given.path)), given.config));"
    )
    given = as_given(*odd)
    assert run(code, given) is None
    given["config"]["n_layer"] = 3
    assert run(code, given) == "the weights have no blocks.2.ln_1.weight"
    path = tmp_path / "long.safetensors"
    path.write_bytes(safetensors.torch.save({"x": torch.zeros(2, dtype=torch.int64)}))
    found = run("return problem(() => network.readSafetensors(file(given)));", str(path))
    assert found.startswith("x is of type I64")


def test_more_moves_than_the_context_are_refused(run, odd):
    found = run("return problem(() => net.run(Array(40).fill(1)));", as_given(*odd), LOAD)
    assert found == "this network reads at most 31 moves"


# Bundles ----------------------------------------------------------------------------------------------

WIDGETS = ["game_tape.js", "board_widget.js", "layer_explorer.js"]


@pytest.fixture
def evaluate(node):
    """What a module of JavaScript writes."""

    def call(code):
        command = [node, "--input-type=module", "-e", code]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


@pytest.mark.parametrize("name", WIDGETS)
def test_a_bundle_needs_no_other_module_and_holds_each_once(evaluate, tmp_path, name):
    text = esm(name)
    assert not any(line.startswith("import") for line in text.splitlines())
    assert text.count("export ") == text.count("export default") == 1
    assert text.count("function flips(") == 1
    (tmp_path / "bundle.mjs").write_text(text)
    address = json.dumps((tmp_path / "bundle.mjs").as_uri())
    code = f"const m = await import({address}); console.log(typeof m.default.render)"
    assert evaluate(code) == "function\n"


@pytest.mark.parametrize("name", [*WIDGETS, "page.js"])
def test_every_module_of_a_bundle_exports_what_it_exports_by_itself(evaluate, name):
    """Node, which parses the files as they are, says what that is."""
    report = (
        "console.log(JSON.stringify(Object.entries(modules).map(([n, m]) => [n, Object.keys(m).sort()])));"
    )
    bundled = dict(json.loads(evaluate(f"{bundle(name)}\n{report}")))
    assert len(bundled) >= 3 and list(bundled)[-1] == name
    for file, exports in bundled.items():
        code = f"const m = await import({json.dumps((FOLDER / file).as_uri())});"
        assert json.loads(evaluate(f"{code} console.log(JSON.stringify(Object.keys(m)))")) == exports, file


def test_every_module_is_in_a_bundle():
    bundled = "".join(bundle(name) for name in [*WIDGETS, "page.js"])
    files = [path.name for path in FOLDER.glob("*.js")]
    assert len(files) > 10 and [file for file in files if f'modules["{file}"] = ' not in bundled] == []


def test_modules_of_a_bundle_may_use_the_same_names(evaluate, tmp_path, monkeypatch):
    monkeypatch.setattr(modules, "FOLDER", tmp_path)
    (tmp_path / "one.js").write_text("const size = 1;\nexport const one = () => size;\n")
    (tmp_path / "two.js").write_text("const size = 2;\nexport const one = () => size;\n")
    names = 'import { one } from "./one.js";\nimport { one as two } from "./two.js";\n'
    (tmp_path / "all.js").write_text(f"{names}const size = 3;\nexport const sizes = [one(), two(), size];\n")
    assert evaluate(f'{bundle("all.js")}\nconsole.log(modules["all.js"].sizes.join())') == "1,2,3\n"


@pytest.mark.parametrize(
    "line",
    [
        'import othello from "./othello.js";',
        "export default { render };",
        "export { render };",
        'export * from "./board.js";',
    ],
)
def test_a_module_that_cannot_be_bundled_is_refused(tmp_path, monkeypatch, line):
    monkeypatch.setattr(modules, "FOLDER", tmp_path)
    (tmp_path / "odd.js").write_text(f"const render = 1;\n{line}\n")
    with pytest.raises(ValueError, match=f"odd.js .*{re.escape(line)}"):
        bundle("odd.js")


def test_modules_that_import_each_other_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(modules, "FOLDER", tmp_path)
    for name, imported in (("one", "two"), ("two", "one")):
        line = f'import {{ f{imported} }} from "./{imported}.js";\nexport const f{name} = 1;\n'
        (tmp_path / f"{name}.js").write_text(line)
    with pytest.raises(ValueError, match=r"one\.js imports itself, by way of two\.js and one\.js"):
        bundle("one.js")


# The linter -------------------------------------------------------------------------------------------


@pytest.fixture
def linted(root, tmp_path):
    """The rules that lines of a module break, by the settings of `make lint`."""
    beside_python = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    program = shutil.which("oxlint", path=beside_python) or pytest.skip("oxlint is not installed")

    def call(code):
        (tmp_path / "module.js").write_text(code)
        command = [program, "-c", root / ".oxlintrc.json", "--format=json", tmp_path]
        done = subprocess.run(command, capture_output=True, text=True)
        broken = [found["code"] for found in json.loads(done.stdout)["diagnostics"]]
        assert done.returncode == bool(broken)
        return broken

    return call


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("export const f = () => document.body.append(missing);", "no-undef"),
        ("export const f = () => { total = 1; };", "no-undef"),
        ("export const f = () => name;", "no-undef"),  # a global of every page that nobody means
        ('import { play } from "./othello.js";', "no-unused-vars"),
        ("export const f = (a) => { const b = a; };", "no-unused-vars"),
        ("export const f = (a) => a == 1;", "eqeqeq"),
        ("export const f = () => { let a = 1; return a; };", "prefer-const"),
        ("export const f = () => { var a = 1; a += 1; return a; };", "no-var"),
        ("const size = 8; export const f = (size) => size; f(size);", "no-shadow"),
    ],
)
def test_the_linter_finds(linted, code, rule):
    assert any(rule in found for found in linted(code))


def test_the_linter_leaves_what_a_module_may_use_alone(linted):
    code = "export const now = (el) => { el.append(document.title); setTimeout(now, 5); return Math.PI; };"
    assert linted(code) == []


# Stable discs -----------------------------------------------------------------------------------------

STABILITY = f"""
import * as stability from {json.dumps((FOLDER / "stability.js").as_uri())};
const text = (mask) => mask.join("");
"""
RULES = """
return given.boards.map((board) => {
  const b = Uint8Array.from(board);
  return [text(stability.stablePaper(b, given.size)), text(stability.stableSound(b, given.size))];
});
"""
REFUTED = """
return given.moves.map((moves) => othello.replay(moves, given.size).slice(1).map((p) =>
  text(stability.refuted(p, given.n, given.seed))));
"""


def as_masks(texts):
    """Masks "0110…" as bool [n, 64]."""
    return np.array([list(text) for text in texts]) == "1"


def agree_on_stable(run, boards, board_size):
    """Both rules mark in Node what they mark in Python; returns how many discs the proof marks."""
    given = {"boards": ["".join(map(str, board)) for board in boards], "size": board_size}
    paper, sound = map(as_masks, zip(*run(RULES, given, STABILITY), strict=True))
    np.testing.assert_array_equal(paper, oe.stable_paper(boards, board_size))
    np.testing.assert_array_equal(sound, oe.stable_sound(boards, board_size))
    return sound.sum()


def played(games):
    """All positions of games: boards [n, 64], who is to move [n], and the moves of each game."""
    positions, moves = oe.replay(games), [[int(move) for move in row if move >= 0] for row in games.moves]
    reached = np.arange(positions.boards.shape[1]) < np.array([len(row) for row in moves])[:, None]
    return positions.boards[reached], positions.to_move[reached], moves


def refuted_in_node(run, moves, board_size, n_playouts, seed=3):
    """Refuted discs of all positions of games, bool [n, 64]."""
    given = {"moves": moves, "size": board_size, "n": n_playouts, "seed": seed}
    return as_masks([mask for of_game in run(REFUTED, given, STABILITY) for mask in of_game])


@pytest.mark.parametrize(("board_size", "n_games"), [(4, 400), (6, 150), (8, 150)])
def test_stable_discs_of_random_games_are_those_of_python(run, board_size, n_games):
    boards, _, _ = played(oe.random_games(n_games, seed=18, board_size=board_size))
    assert agree_on_stable(run, boards, board_size) > len(boards)


def test_stable_discs_of_human_games_are_those_of_python(run, shared_data):
    path = max(shared_data.glob("**/*.wtb"), key=lambda path: path.stat().st_size, default=None)
    if path is None:
        pytest.skip("no WTHOR file in shared/data")
    boards, _, _ = played(oe.read_wthor(path)[:150])
    assert agree_on_stable(run, boards, 8) > len(boards) > 5000


@pytest.mark.parametrize("board_size", [4, 6, 8])
def test_every_edge_is_judged_as_python_judges_it(run, board_size):
    margin = (8 - board_size) // 2
    edges = np.array(list(itertools.product(range(3), repeat=board_size)), np.int8)
    grids = np.zeros((4, len(edges), 8, 8), np.int8)  # one edge each: top, bottom, left, right
    grids[0, :, margin, margin : 8 - margin] = grids[1, :, 7 - margin, margin : 8 - margin] = edges
    grids[2, :, margin : 8 - margin, margin] = grids[3, :, margin : 8 - margin, 7 - margin] = edges
    agree_on_stable(run, grids.reshape(-1, 64), board_size)


@pytest.mark.parametrize("board_size", [4, 6, 8])
def test_stable_discs_of_boards_that_no_game_reaches_are_those_of_python(run, board_size):
    """Nearly full, and nearly of one colour: there the proof goes far from the edges."""
    rng, margin = np.random.default_rng(19), (8 - board_size) // 2
    inner = slice(margin, 8 - margin)
    shares = rng.uniform(0, 0.3, (2, 2000, 1, 1))
    draws = rng.uniform(size=(2, 2000, board_size, board_size))
    boards = np.zeros((2000, 8, 8), np.int8)
    boards[:, inner, inner] = np.where(draws[0] < shares[0], 0, 1 + (draws[1] < shares[1]))
    agree_on_stable(run, boards.reshape(-1, 64), board_size)


@pytest.mark.parametrize(("board_size", "n_games"), [(4, 60), (6, 20), (8, 20)])
def test_what_is_stable_is_never_refuted(run, board_size, n_games):
    boards, to_move, moves = played(oe.random_games(n_games, seed=20, board_size=board_size))
    refuted, proven = refuted_in_node(run, moves, board_size, 20), oe.stable_sound(boards, board_size)
    assert refuted.any()
    assert not (refuted & (proven | (boards == 0))).any()
    assert not refuted[to_move == 0].any() and (to_move == 0).sum() == n_games
    late = np.flatnonzero((boards > 0).sum(-1) >= board_size**2 - 7)
    truth = np.array([oe.stable_exact(boards[i], to_move[i], board_size) for i in late])
    assert refuted[late].any() and (truth & ~proven[late]).any()
    assert not (refuted[late] & truth).any()


def test_many_playouts_refute_what_python_refutes_late_in_a_game(run):
    boards, to_move, moves = played(oe.random_games(12, seed=21))
    late = (boards > 0).sum(-1) >= 50
    ours = oe.refuted(boards[late], to_move[late], 200, seed=4)
    found = refuted_in_node(run, moves, 8, 200)[late]
    assert ours.sum() > 1000
    assert (found & ours).sum() > 0.97 * (found | ours).sum()


def test_the_same_seed_refutes_the_same_discs(run):
    _, _, moves = played(oe.random_games(3, seed=22))
    one, again, other = (refuted_in_node(run, moves, 8, 2, seed) for seed in (5, 5, 6))
    assert (one == again).all() and (one != other).any()


def test_no_playout_refutes_nothing_and_leaves_the_board_alone(run):
    code = """
    const p = othello.start(), before = text(p.board);
    const found = [0, 20].map((n) => text(stability.refuted(p, n, 1)));
    return [text(p.board) === before, ...found.map((mask) => mask.includes("1"))];
    """
    assert run(code, extra=STABILITY) == [True, False, True]


# How a board looks ------------------------------------------------------------------------------------

BOARD = f"""import * as board from {json.dumps((FOLDER / "board.js").as_uri())};"""


def test_the_colours_and_measures_of_a_board_are_those_of_python(run):
    code = "const { LABEL_COLOURS, SEQUENTIAL_STOPS, DIVERGING_STOPS, DISC_RADIUS, RING_WIDTH } = board;"
    code += "return [LABEL_COLOURS, SEQUENTIAL_STOPS, DIVERGING_STOPS, DISC_RADIUS, RING_WIDTH];"
    labels, sequential, diverging, *measures = run(code, extra=BOARD)
    assert tuple(labels) == drawing.LABEL_COLOURS and tuple(diverging) == drawing.DIVERGING_STOPS
    assert tuple(sequential) == drawing.SEQUENTIAL_STOPS[:-1], "without the darkest"
    assert measures == [drawing.DISC_RADIUS, drawing.RING_WIDTH]
    text = "".join(file.read_text(encoding="utf-8") for file in FOLDER.glob("*.js"))
    written = re.findall(r"#(?:[0-9a-f]{6}|[0-9a-f]{3})\b", text)
    assert sorted(written) == sorted([*labels, *sequential, *diverging]), "no other colour in the scripts"


# Addresses of the explorer's page ---------------------------------------------------------------------

PAGE = f"""import * as page from {json.dumps((FOLDER / "page.js").as_uri())};"""
START = {"moves": "", "ply": 0, "stage": 8, "compare": -1, "flip": "", "drawing": ""}


@pytest.mark.parametrize("explorer", [1, 2])
def test_every_state_of_the_explorer_comes_back_from_its_address(run, explorer):
    games, states = oe.random_games(40, seed=23), [START]
    for game in range(len(games)):
        moves = games.transcript(game)[: 2 * (game % 5) * 15]
        for ply in {0, 1, len(moves) // 4, len(moves) // 2} & {*range(len(moves) // 2 + 1)}:
            board = oe.Board.from_moves(moves[: 2 * ply])
            discs = np.flatnonzero(board.contents) if board.to_move else []
            flips = ["", *(SQUARE_NAMES[at] for at in discs[:2])]
            choices = itertools.product((0, 8), (-1, 0, 8), flips, ("", "next", "refuted"))
            states += [
                {
                    "moves": moves,
                    "ply": ply,
                    "stage": stage,
                    "compare": compare,
                    "flip": flip,
                    "drawing": drawing,
                }
                for stage, compare, flip, drawing in choices
            ]
    code = """
    const addresses = given.states.map((state) => page.toAddress(state, given.explorer));
    return [addresses, addresses.map(page.fromAddress)];
    """
    addresses, found = run(code, {"states": states, "explorer": explorer}, PAGE)
    assert found == states and any(state["ply"] == 0 and state["moves"] for state in states)
    assert all(address.startswith("#explorer=2&" if explorer == 2 else "#moves=") for address in addresses)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("#moves=f5a1", "Move 2: white cannot play a1"),
        ("#moves=f5&ply=2", "ply=2 is not a number from 0 to 1"),
        ("#moves=f5&flip=a1", "flip=a1 after 1 moves: no disc is there to turn over"),
        ("#moves=f5d6&ply=0&flip=f5", "flip=f5 after 0 moves: no disc is there to turn over"),
        ("#flip=i9", "flip=i9 after 0 moves: there is no such square on 8x8"),
        ("#moves=e6f4e3f6g5d6e7f5c5&flip=e4", "flip=e4 after 9 moves: the game is over"),
        ("#drawing=all", "drawing=all is not known"),
        ("#moves=" + "f5" * 50_000, "it has 100007 characters, and no position needs more than 1500"),
        *(
            (f"#{name}=" + "9" * 1000, f"{name}=99999999999999999999…")
            for name in ("ply", "stage", "compare")
        ),
        ("#flip=" + "x" * 1000, "flip=xxxxxxxxxxxxxxxxxxxx… after 0 moves"),
        ("#drawing=" + "x" * 1000, "drawing=xxxxxxxxxxxxxxxxxxxx… is not known"),
    ],
)
def test_an_address_that_leads_nowhere_is_told_why_and_not_repeated_at_length(run, address, message):
    found = run("return problem(() => page.fromAddress(given));", address, PAGE)
    assert found.startswith(message) and len(found) < 200


# Boards that a network believes in --------------------------------------------------------------------

PROBE_BOARDS = f"""import * as boards from {json.dumps((FOLDER / "probe_boards.js").as_uri())};"""
READ = """
const position = othello.replay(othello.parseTranscript("f5d6c3")).at(-1);
const p = new Float32Array(64 * 3);
position.board.forEach((disc, square) => {
  p[3 * square + (disc === 0 ? 0 : disc === position.toMove ? 1 : 2)] = 1;
});
const as = (square, kind) => { p.fill(0, 3 * square, 3 * square + 3); p[3 * square + kind] = 1; };
for (const [square, kind] of given.read) as(square, kind);
const { wrong, edited, nRight, nJudged } = boards.decodeBoard(p, position, 8, given.edit);
return [wrong, edited, nRight, nJudged];
"""


@pytest.mark.parametrize(
    ("read", "edit", "found"),
    [
        ([], None, [[], None, 64, 64]),
        ([(37, 1)], None, [[37], None, 63, 64]),
        ([(37, 1)], {"square": 37, "to": 1}, [[], 37, 63, 63]),  # turned over on purpose
        ([(37, 1), (0, 2)], {"square": 37, "to": 1}, [[0], 37, 62, 63]),  # and another by mistake
        ([], {"square": 37, "to": 1}, [[], None, 64, 64]),  # the push did not succeed
        ([(37, 0)], {"square": 37, "to": 1}, [[37], None, 63, 64]),  # nor here
    ],
)
def test_a_disc_that_was_turned_over_on_purpose_is_no_mistake(run, read, edit, found):
    """f5 (37) is black after f5d6c3, and white is to move: it is theirs, 2."""
    assert oe.Board.from_moves("f5d6c3").to_move == 2
    assert run(READ, {"read": read, "edit": edit}, PROBE_BOARDS) == found
