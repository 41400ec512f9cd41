"""`LayerExplorer`: play a game, and see layer by layer the board that a probe reads from a network."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

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

N_STRONGEST = 6  # features shown for each stage
DRAWINGS = ("", "next", "paper", "proven", "refuted")
_PROBABILITY_STEPS = 84  # 3 kinds times 85 values fit into the 256 of a byte


class LayerExplorer(PlayableGame):
    """A game to play, and beside it what a network makes of it, layer by layer.

    It shows the true board, the board that a probe reads at each stage, the moves that the network would
    play, the features that are most active, and what changes when one disc is edited in the residual stream.

    The network is one of three: `model`, in the kernel; `arrays`, computed before; or, with neither, the one
    that the book's site brings along.

    Args:
        model: a network.
        probe: a probe of all its stages, fitted on the 64 squares, or on those of its board
            (`LinearProbe().fit(streams, contents)`).
        saes: an autoencoder for each stage, or a mapping from stages to autoencoders, if features are wanted.
        games: where to look for positions at which a feature is active.
        arrays: instead of a model, probabilities along `moves`: of empty, mine and theirs, float [n_stages,
            n_plies, 64, 3], and of each square as the next move, float [n_plies, 64], or None.
        written: of the model, what `board_directions` gives for all its stages and the probe's squares; a
            disc is then turned over along its writing direction, as in chapter 6. Without it, along the
            reading direction, the difference of the probe's weights.
        keep: let what the model has along `moves` travel with the widget (about 45 kB), for pages without a
            kernel.
        moves: the game to begin with, a transcript.
        ply: how many of its moves are on the board, all by default.
        stage: the chosen one; the last by default.
        compare: another stage, -1 for none.
        flip: a square whose disc is edited to the other colour, from the chosen stage on; "" for none. It
            must be the square of a disc, and is dropped when the game takes that away.
        drawing: what is drawn on the true board: "", "next", or a notion of stability, "paper", "proven",
            "refuted".
        library: games to begin with, each with "name", "moves" and "ply".
        board_size: for `arrays`; a model knows its own.
        title: shown above.

    Raises:
        OthelloEduError: where probe, autoencoders, arrays and model do not fit each other, and as
            `BoardWidget`.
        IllegalMoveError: as `BoardWidget`.

    Example:
        >>> import othello_edu as oe
        >>> model = oe.GPT(oe.GPTConfig(board_size=4, n_layer=1, n_head=1, d_model=8))
        >>> games = oe.random_games(50, seed=0, board_size=4)
        >>> contents = oe.contents(oe.replay(games))[:, :-1]
        >>> probe = LinearProbe().fit(oe.residual_streams(model, games), contents)
        >>> explorer = LayerExplorer(model, probe, moves=games.transcript(0)[:8])
        >>> explorer.stage, explorer.ply
        (1, 4)

    See Also:
        Chapter 5, :doc:`/notebooks/05_linear_probes`; chapter 6, :doc:`/notebooks/06_does_it_use_its_board`;
        and the page :doc:`/book/explorer`.
    """

    _esm = esm("layer_explorer.js")

    stage = traitlets.Int(0).tag(sync=True)
    compare = traitlets.Int(-1).tag(sync=True)
    flip = traitlets.Unicode("").tag(sync=True)  # a square whose disc is edited in the residual stream
    drawing = traitlets.Unicode("").tag(sync=True)
    about = traitlets.Dict(read_only=True).tag(sync=True)  # of the kernel's network; empty: the page's
    given = traitlets.Dict(read_only=True).tag(sync=True)  # the arrays, as `_packed` packs them; or empty

    def __init__(
        self,
        model: GPT | None = None,
        probe: LinearProbe | None = None,
        saes: Sequence[Autoencoder] | Mapping[int, Autoencoder] | None = None,
        games: Games | None = None,
        *,
        arrays: tuple | None = None,
        written: torch.Tensor | None = None,
        keep: bool = False,
        moves: str = "",
        ply: int | None = None,
        stage: int | None = None,
        compare: int = -1,
        flip: str = "",
        drawing: str = "",
        library: Sequence[dict[str, Any]] = (),
        board_size: int = 8,
        title: str = "What the network believes",
    ):
        if (model is None) != (probe is None):
            raise OthelloEduError("give a model and a probe of its stages, or neither")
        if written is not None and (probe is None or written.shape != probe.weight.shape):
            raise OthelloEduError(
                f"written has shape {list(written.shape)}; it needs a model, and the shape of the weights of "
                "its probe: board_directions(streams, labels)"
            )
        if arrays is not None and model is not None:
            raise OthelloEduError("give a model or arrays, not both")
        about: dict[str, Any] = {"library": list(library)}
        packed: dict[str, Any] = {}
        n_stages = 9  # of the site's network
        if model is not None:
            n_stages, board_size = model.n_stages, model.config.board_size
            if written is not None:
                written = _directions_on_grid(written, board_size)
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
            stages = set(saes or ())
            if not stages <= set(range(n_stages)):
                raise OthelloEduError(
                    f"autoencoders for stages {sorted(stages)}; there are 0 to {n_stages - 1}"
                )
            about |= {"config": asdict(model.config), "context": model.config.n_ctx}
            about |= {"network": fingerprint(model), "along": "reading" if written is None else "writing"}
        moves = Games.from_transcripts([moves], board_size).transcript(0)
        if keep and model is not None:
            arrays = _arrays_along(model, probe, moves)
        if arrays is not None:
            packed = _packed(moves, *arrays)
            n_stages = packed["stages"]
        self._model, self._probe, self._written = model, probe, written
        self._saes, self._games = saes, games
        self._n_stages = n_stages
        traits = {"about": about, "given": packed, "compare": compare, "flip": flip, "drawing": drawing}
        traits["stage"] = n_stages - 1 if stage is None else stage
        super().__init__(moves, board_size, ply, title, **traits)
        self.on_msg(self._on_request)

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
        """Why the disc of a square cannot be edited, or ""."""
        if name not in ("", *SQUARE_NAMES):
            return f"{name!r} is not a square"
        if name and not self.board.contents[parse_square(name)]:
            return "no disc is there to turn over"
        return "the game is over" if name and not self.board.to_move else ""

    @traitlets.observe("moves", "ply")
    def _drop_flip(self, _):
        if self._why_no_flip(self.flip):
            self.flip = ""

    def _on_request(self, _, request, buffers):
        try:
            content, data = self._response(request)
        except Exception as error:  # whatever it is, the reader should see it
            content, data = {"error": str(error)}, None
        self.send({"id": request.get("id")} | content, data)

    def _response(self, request):
        """Content and buffers of the message that answers a request of `KernelBackend` in `backends.js`."""
        if self._model is None:
            raise OthelloEduError("this explorer has no model in the kernel: LayerExplorer(model, probe)")
        if "feature" in request:
            return {"examples": self._top_examples(int(request["stage"]), int(request["feature"]))}, None
        boards, next_moves, features = self._run_network(request["moves"], request.get("edit"))
        return {"features": features}, [boards.tobytes(), next_moves.tobytes()]

    @torch.no_grad()
    def _run_network(self, moves, edit=None):
        """What the network has after a line of moves: boards, next moves, features, as in `backends.js`."""
        line = "".join(SQUARE_NAMES[int(square)] for square in moves)
        games = Games.from_transcripts([line], self.board_size)
        read = tokens(games)[:, : len(moves)]
        edits = None
        if edit is not None:
            square, to, first = int(edit["square"]), int(edit["to"]), int(edit["from"])
            nothing = np.zeros((1, self._model.config.vocab_size), bool)
            # Game, ply, square, contents before and after; which moves are legal plays no part here.
            row = [np.array([value]) for value in (0, len(moves) - 1, square, 3 - to, to)]
            case = Cases(*row, nothing, nothing)
            edits = probe_edits(self._probe, case, range(first, self._model.n_stages), along=self._written)
        logits, cache = self._model.run_with_cache(read, edits, ["resid_post"])
        streams = cache["resid_post"][:, 0, -1:]  # [n_stages, 1, d_model]
        boards = self._probe.logits(streams)[:, 0].softmax(-1)
        next_moves = np.zeros(64, np.float32)
        squares = move_squares(self.board_size)[1:]
        next_moves[squares] = logits[0, -1, 1:].softmax(-1).numpy()
        features = None if self._saes is None else [[] for _ in streams]
        for stage, sae in (self._saes or {}).items():
            value, feature = sae.encode(streams[stage, 0]).topk(N_STRONGEST)
            features[stage] = [
                {"feature": int(f), "value": float(v)} for f, v in zip(feature, value, strict=True) if v > 0
            ]
        return boards.numpy().astype(np.float32), next_moves, features

    @torch.no_grad()
    def _top_examples(self, stage, feature):
        """The positions of `games` at which a feature is most active, at most one of each game."""
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
    weight = _directions_on_grid(probe.weight, board_size)
    bias = torch.zeros(weight.shape[:-1])
    bias[..., 0] = 50  # a logit: beside two of 0, a probability of 1
    bias[:, squares] = probe.bias
    return LinearProbe.from_weights(weight, bias)


def _directions_on_grid(directions, board_size):
    """Directions [n_stages, n_squares, 3, d_model] of a smaller board's squares, and zeros for the others."""
    squares = playable_squares(board_size)
    if directions.shape[1] != len(squares) or board_size == 8:
        return directions
    n_stages, _, n_kinds, d_model = directions.shape
    on_grid = torch.zeros(n_stages, 64, n_kinds, d_model)
    on_grid[:, squares] = directions
    return on_grid


@torch.no_grad()
def _arrays_along(model, probe, moves):
    """What a network has after each move of a line: boards and next moves, as `arrays` of the widget are."""
    board_size, n_plies = model.config.board_size, min(len(moves) // 2, model.config.n_ctx)
    read = tokens(Games.from_transcripts([moves], board_size))[:, :n_plies]
    logits, cache = model.run_with_cache(read, names=["resid_post"])
    next_moves = np.zeros((n_plies, 64), np.float32)
    next_moves[:, move_squares(board_size)[1:]] = logits[0, :, 1:].softmax(-1).numpy()
    return probe.logits(cache["resid_post"][:, 0]).softmax(-1).numpy(), next_moves


def _packed(moves: str, boards: np.ndarray, next_moves: np.ndarray | None = None) -> dict[str, Any]:
    """The arrays of one line of moves, packed for `ArraysBackend` in `backends.js`.

    Of each square one byte: its likeliest kind, and that kind's probability in steps from a third to one.
    """
    boards, n_moves = np.asarray(boards, np.float32), len(moves) // 2
    if boards.ndim != 4 or boards.shape[2:] != (64, 3) or not 0 < boards.shape[1] <= n_moves:
        raise OthelloEduError(
            f"boards have shape {boards.shape}; {n_moves} moves need (n_stages, n_plies, 64, 3), n_plies at "
            f"most {n_moves}"
        )
    if not np.isfinite(boards).all() or np.abs(boards.sum(-1) - 1).max() > 1e-3 or boards.min() < 0:
        raise OthelloEduError("boards must be probabilities: of empty, mine and theirs, which add up to one")
    n_stages, n_plies = boards.shape[:2]
    packed = {"moves": moves, "stages": n_stages}
    steps = np.clip(np.rint((3 * boards.max(-1) - 1) / 2 * _PROBABILITY_STEPS), 0, _PROBABILITY_STEPS)
    packed["boards"] = _base64(((_PROBABILITY_STEPS + 1) * boards.argmax(-1) + steps).astype(np.uint8))
    if next_moves is not None:
        next_moves = np.asarray(next_moves, np.float32)
        if next_moves.shape != (n_plies, 64):
            raise OthelloEduError(f"next moves have shape {next_moves.shape}; they need ({n_plies}, 64)")
        packed["next"] = _base64(next_moves.astype("<f2"))
    return packed


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()
