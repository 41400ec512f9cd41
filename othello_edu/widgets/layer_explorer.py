"""`LayerExplorer`: play a game, and see layer by layer the board that a network believes in."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import torch
import traitlets

from ..activations import residual_streams
from ..board import SQUARE_NAMES
from ..errors import OthelloEduError
from ..games import Games, move_squares, next_tokens, tokens
from ..interventions import Cases, probe_edits
from ..model import GPT
from ..probes import LinearProbe
from ..sae import Autoencoder
from .explorer_file import N_EXAMPLES
from .modules import esm
from .playable import PlayableGame

N_STRONGEST = 6


class LayerExplorer(PlayableGame):
    """The true board, the board that each stage believes in, the moves that the network would play, the
    features that fire; and what happens if a disc is turned over in its mind.

    model, probe: a network and a probe of all its stages, fitted on its 64 squares
    (`LinearProbe().fit(streams, contents)`). saes: an autoencoder for each stage, if features are wanted.
    games: where to look for what excites a feature. Without a model, the page brings the book's network, if
    it is there (in the static site); in a notebook, give a model. moves, ply: the game to begin with.
    stage: the chosen one. library: games to begin with, {"name": …, "moves": …, "ply": …}.

    Raises OthelloEduError where probe, autoencoders and model do not fit each other, and as `BoardWidget`.
    """

    _esm = esm("layer_explorer.js")

    stage = traitlets.Int(0).tag(sync=True)
    flip = traitlets.Unicode("").tag(sync=True)  # a square whose disc is turned over in the network's mind
    about = traitlets.Dict(read_only=True).tag(sync=True)  # of the kernel's network; empty: the page's

    def __init__(
        self,
        model: GPT | None = None,
        probe: LinearProbe | None = None,
        saes: Sequence[Autoencoder] | None = None,
        games: Games | None = None,
        *,
        moves: str = "",
        ply: int | None = None,
        stage: int | None = None,
        library: Sequence[dict] = (),
        title: str = "What the network believes",
    ):
        if (model is None) != (probe is None):
            raise OthelloEduError("give a model and a probe of its stages, or neither")
        about, size, last = {}, 8, 8
        if model is not None:
            if len(probe.weight) != model.n_stages or probe.weight.shape[1] != 64:
                raise OthelloEduError(
                    f"the probe has stages and squares {tuple(probe.weight.shape[:2])}; "
                    f"this model needs ({model.n_stages}, 64)"
                )
            if saes is not None and len(saes) != model.n_stages:
                raise OthelloEduError(f"{len(saes)} autoencoders for {model.n_stages} stages: one for each")
            size, last = model.config.board_size, model.config.n_layer
            about = {"config": asdict(model.config), "context": model.config.n_ctx, "library": list(library)}
        self._model, self._probe, self._saes, self._games = model, probe, saes, games
        more = {"about": about, "stage": last if stage is None else stage}
        super().__init__(moves, size, ply, title, **more)
        self.on_msg(self._answer)

    @traitlets.validate("stage")
    def _check_stage(self, proposal):
        last = self._model.config.n_layer if self._model is not None else 8
        if not 0 <= proposal["value"] <= last:
            raise OthelloEduError(f"stage is {proposal['value']}; this network has stages 0 to {last}")
        return proposal["value"]

    @traitlets.validate("flip")
    def _check_flip(self, proposal):
        if proposal["value"] not in ("", *SQUARE_NAMES):
            raise OthelloEduError(f"{proposal['value']!r} is not a square")
        return proposal["value"]

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
        features = [[] for _ in streams]
        for stage, sae in enumerate(self._saes or ()):
            value, feature = sae.encode(streams[stage, 0]).topk(N_STRONGEST)
            features[stage] = [
                {"feature": int(f), "value": float(v)} for f, v in zip(feature, value, strict=True) if v > 0
            ]
        return boards.numpy().astype(np.float32), following, features

    @torch.no_grad()
    def _examples(self, stage, feature):
        """The positions of `games` that excite a feature most, of each game at most one."""
        if not self._saes or self._games is None:
            return []
        code = self._saes[stage].encode(residual_streams(self._model, self._games, [stage])[0])[..., feature]
        best, ply = code.masked_fill(next_tokens(self._games) == 0, 0).max(dim=1)
        value, game = best.topk(min(N_EXAMPLES, len(best)))
        return [
            {"moves": self._games.transcript(int(g))[: 2 * int(ply[g]) + 2], "value": float(v)}
            for g, v in zip(game, value, strict=True)
            if v > 0
        ]
