"""`LayerExplorer`: play a game, and see layer by layer the board that a network believes in."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import torch
import traitlets

from ..activations import residual_streams
from ..board import SQUARE_NAMES, parse_square
from ..engine import playable_squares
from ..errors import OthelloEduError
from ..games import Games, move_squares, next_tokens, tokens
from ..interventions import Cases, probe_edits
from ..model import GPT
from ..probes import LinearProbe
from ..sae import Autoencoder
from .explorer_file import N_EXAMPLES, fingerprint
from .modules import esm
from .playable import PlayableGame

N_STRONGEST = 6
DRAWINGS = ("", "next", "paper", "proven", "refuted")
_SURE_STEPS = 84


class LayerExplorer(PlayableGame):
    """The true board, the board that each stage believes in, the moves that the network would play, the
    features that fire; and what happens if a disc is turned over in its mind.

    model, probe: a network and a probe of all its stages, fitted on the 64 squares, or on those of its board
    (`LinearProbe().fit(streams, contents)`). saes: an autoencoder for each stage, or {stage: autoencoder}, if
    features are wanted. games: where to look for what excites a feature. Without a model, the page brings the
    book's network, if it is there (in the static site); in a notebook, give a model, or `arrays`:
    probabilities of empty, mine and theirs along `moves`, [n_stages, n_plies, 64, 3], and of each square as
    the next move, [n_plies, 64], or None. keep: with a model, let what it has along `moves` travel with the
    widget (about 45 kB), for pages without a kernel.

    moves, ply: the game to begin with. stage: the chosen one; compare: another, -1 for none. flip: a square
    whose disc is turned over in the network's mind, from the chosen stage on; "" for none. drawing: what is
    drawn on the true board: "", "next", or a notion of stability, "paper", "proven", "refuted". library:
    games to begin with, {"name": …, "moves": …, "ply": …}. board_size: for `arrays`; a model knows its own.

    Raises OthelloEduError where probe, autoencoders, arrays and model do not fit each other, and as
    `BoardWidget`. `flip` must be the square of a disc; it is dropped when the game takes that away.
    """

    _esm = esm("layer_explorer.js")

    stage = traitlets.Int(0).tag(sync=True)
    compare = traitlets.Int(-1).tag(sync=True)
    flip = traitlets.Unicode("").tag(sync=True)  # a square whose disc is turned over in the network's mind
    drawing = traitlets.Unicode("").tag(sync=True)
    about = traitlets.Dict(read_only=True).tag(sync=True)  # of the kernel's network; empty: the page's
    given = traitlets.Dict(read_only=True).tag(sync=True)  # what came along: see `GivenMind` in mind.js

    def __init__(
        self,
        model: GPT | None = None,
        probe: LinearProbe | None = None,
        saes: Sequence[Autoencoder] | Mapping[int, Autoencoder] | None = None,
        games: Games | None = None,
        *,
        arrays: tuple | None = None,
        keep: bool = False,
        moves: str = "",
        ply: int | None = None,
        stage: int | None = None,
        compare: int = -1,
        flip: str = "",
        drawing: str = "",
        library: Sequence[dict] = (),
        board_size: int = 8,
        title: str = "What the network believes",
    ):
        if (model is None) != (probe is None):
            raise OthelloEduError("give a model and a probe of its stages, or neither")
        if arrays is not None and model is not None:
            raise OthelloEduError("give a model or arrays, not both")
        about, given, n_stages = {"library": list(library)}, {}, 9
        if model is not None:
            n_stages, board_size = model.n_stages, model.config.board_size
            probe = _on_grid(probe, board_size)
            if tuple(probe.weight.shape[:2]) != (n_stages, 64):
                raise OthelloEduError(
                    f"the probe has stages and squares {tuple(probe.weight.shape[:2])}; "
                    f"this model needs ({n_stages}, 64)"
                )
            if saes is not None and not isinstance(saes, Mapping):
                if len(saes) != n_stages:
                    raise OthelloEduError(f"{len(saes)} autoencoders for {n_stages} stages: one for each")
                saes = dict(enumerate(saes))
            if not set(saes or ()) <= set(range(n_stages)):
                raise OthelloEduError(
                    f"autoencoders for stages {sorted(saes)}; there are 0 to {n_stages - 1}"
                )
            about |= {"config": asdict(model.config), "context": model.config.n_ctx}
            about["network"] = fingerprint(model)
        moves = Games.from_transcripts([moves], board_size).transcript(0)
        if keep and model is not None:
            arrays = _along(model, probe, moves)
        if arrays is not None:
            given = _packed(moves, board_size, *arrays)
            n_stages = given["stages"]
        self._model, self._probe, self._saes, self._games = model, probe, saes, games
        self._n_stages = n_stages
        more = {"about": about, "given": given, "compare": compare, "flip": flip, "drawing": drawing}
        more["stage"] = n_stages - 1 if stage is None else stage
        super().__init__(moves, board_size, ply, title, **more)
        self.on_msg(self._answer)

    @traitlets.validate("stage")
    def _check_stage(self, proposal):
        return self._checked_stage("stage", proposal["value"], 0)

    @traitlets.validate("compare")
    def _check_compare(self, proposal):
        return self._checked_stage("compare", proposal["value"], -1)

    def _checked_stage(self, name, value, least):
        if not least <= value < self._n_stages:
            raise OthelloEduError(f"{name} is {value}; this network has stages 0 to {self._n_stages - 1}")
        return value

    @traitlets.validate("drawing")
    def _check_drawing(self, proposal):
        if proposal["value"] not in DRAWINGS:
            raise OthelloEduError(
                f"drawing is {proposal['value']!r}; it can be one of {', '.join(map(repr, DRAWINGS))}"
            )
        return proposal["value"]

    @traitlets.validate("flip")
    def _check_flip(self, proposal):
        if why := self._why_no_flip(proposal["value"]):
            raise OthelloEduError(f"flip is {proposal['value']!r} after {self.ply} moves: {why}")
        return proposal["value"]

    def _why_no_flip(self, name):
        """Why the disc of a square cannot be turned over in the network's mind, or ""."""
        if name not in ("", *SQUARE_NAMES):
            return f"{name!r} is not a square"
        if name and not self.board.contents[parse_square(name)]:
            return "no disc is there to turn over"
        return "the game is over" if name and not self.board.to_move else ""

    @traitlets.observe("moves", "ply")
    def _drop_flip(self, _):
        if self._why_no_flip(self.flip):
            self.flip = ""

    def _answer(self, _, question, buffers):
        try:
            content, data = self._found(question)
        except Exception as error:  # whatever it is, the reader should see it
            content, data = {"error": str(error)}, None
        self.send({"id": question.get("id")} | content, data)

    def _found(self, question):
        if self._model is None:
            raise OthelloEduError("this explorer has no model in the kernel: LayerExplorer(model, probe)")
        if "feature" in question:
            return {"examples": self._examples(int(question["stage"]), int(question["feature"]))}, None
        boards, following, features = self._look(question["moves"], question.get("edit"))
        return {"features": features}, [boards.tobytes(), following.tobytes()]

    @torch.no_grad()
    def _look(self, moves, edit=None):
        """What the network has after a line of moves: see `mind.js`."""
        line = "".join(SQUARE_NAMES[int(square)] for square in moves)
        games = Games.from_transcripts([line], self.board_size)
        read = tokens(games)[:, : len(moves)]
        edits = None
        if edit is not None:
            square, to, first = int(edit["square"]), int(edit["to"]), int(edit["from"])
            nothing = np.zeros((1, self._model.config.vocab_size), bool)
            row = [np.array([value]) for value in (0, len(moves) - 1, square, 3 - to, to)]
            case = Cases(*row, nothing, nothing)
            edits = probe_edits(self._probe, case, range(first, self._model.n_stages))
        logits, cache = self._model.run_with_cache(read, edits, ["resid_post"])
        streams = cache["resid_post"][:, 0, -1:]  # [n_stages, 1, d_model]
        boards = self._probe.logits(streams)[:, 0].softmax(-1)
        following = np.zeros(64, np.float32)
        squares = move_squares(self.board_size)[1:]
        following[squares] = logits[0, -1, 1:].softmax(-1).numpy()
        features = None if self._saes is None else [[] for _ in streams]
        for stage, sae in (self._saes or {}).items():
            value, feature = sae.encode(streams[stage, 0]).topk(N_STRONGEST)
            features[stage] = [
                {"feature": int(f), "value": float(v)} for f, v in zip(feature, value, strict=True) if v > 0
            ]
        return boards.numpy().astype(np.float32), following, features

    @torch.no_grad()
    def _examples(self, stage, feature):
        """The positions of `games` that excite a feature most, of each game at most one."""
        if stage not in (self._saes or {}) or self._games is None:
            return []
        code = self._saes[stage].encode(residual_streams(self._model, self._games, [stage])[0])[..., feature]
        best, ply = code.masked_fill(next_tokens(self._games) == 0, 0).max(dim=1)
        value, game = best.topk(min(N_EXAMPLES, len(best)))
        return [
            {"moves": self._games.transcript(int(g))[: 2 * int(ply[g]) + 2], "value": float(v)}
            for g, v in zip(game, value, strict=True)
            if v > 0
        ]


def _on_grid(probe, board_size):
    """A probe of the squares of a smaller board as one of all 64: outside the border a square is empty."""
    squares = playable_squares(board_size)
    if probe.weight.shape[1] != len(squares) or board_size == 8:
        return probe
    whole, (n_stages, _, kinds, width) = LinearProbe(), probe.weight.shape
    whole.weight, whole.bias = torch.zeros(n_stages, 64, kinds, width), torch.zeros(n_stages, 64, kinds)
    whole.bias[..., 0] = 50
    whole.weight[:, squares], whole.bias[:, squares] = probe.weight, probe.bias
    return whole


@torch.no_grad()
def _along(model, probe, moves):
    """What a network has after each move of a line: boards and next moves, as `arrays` are."""
    board_size, n_plies = model.config.board_size, min(len(moves) // 2, model.config.n_ctx)
    read = tokens(Games.from_transcripts([moves], board_size))[:, :n_plies]
    logits, cache = model.run_with_cache(read, names=["resid_post"])
    following = np.zeros((n_plies, 64), np.float32)
    following[:, move_squares(board_size)[1:]] = logits[0, :, 1:].softmax(-1).numpy()
    return probe.logits(cache["resid_post"][:, 0]).softmax(-1).numpy(), following


def _packed(moves, board_size, boards, following=None) -> dict:
    """The arrays of one line of moves as `GivenMind` reads them: a byte a square, its kind and how sure."""
    boards, n_moves = np.asarray(boards, np.float32), len(moves) // 2
    if boards.ndim != 4 or boards.shape[2:] != (64, 3) or not 0 < boards.shape[1] <= n_moves:
        raise OthelloEduError(
            f"boards have shape {boards.shape}; {n_moves} moves need (n_stages, n_plies, 64, 3), n_plies at "
            f"most {n_moves}"
        )
    if not np.isfinite(boards).all() or np.abs(boards.sum(-1) - 1).max() > 1e-3 or boards.min() < 0:
        raise OthelloEduError("boards must be probabilities: of empty, mine and theirs, which add up to one")
    n_stages, n_plies = boards.shape[:2]
    given = {"moves": moves, "stages": n_stages}
    sure = np.clip(np.rint((3 * boards.max(-1) - 1) / 2 * _SURE_STEPS), 0, _SURE_STEPS)
    given["boards"] = _base64(((_SURE_STEPS + 1) * boards.argmax(-1) + sure).astype(np.uint8))
    if following is not None:
        following = np.asarray(following, np.float32)
        if following.shape != (n_plies, 64):
            raise OthelloEduError(f"next moves have shape {following.shape}; they need ({n_plies}, 64)")
        given["next"] = _base64(following.astype("<f2"))
    return given


def _base64(values) -> str:
    return base64.b64encode(values.tobytes()).decode()
