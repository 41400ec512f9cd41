"""`GPT`: the transformer, in one file that reads top to bottom.

The same network as the public OthelloGPT: pre-LayerNorm blocks (Radford et al., 2019), learned
positions, exact GELU, causal attention, an untied head without bias. A token is a move; the logits at
position `t` are the network's guess of move `t + 1`.

Shapes in comments: B games, T moves, D = d_model, H heads, V tokens in the vocabulary.

References:
    Radford et al. (2019), Language Models are Unsupervised Multitask Learners.

See Also:
    Chapter 3, :doc:`/notebooks/03_a_gpt_by_hand`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn import functional as F

from . import checks
from .engine import check_board_size, n_plies
from .errors import OthelloEduError
from .games import refuse_squares

# (name, index) -> what takes the activation's place, computed from the activation.
Edits = Mapping[tuple[str, int], Callable[[torch.Tensor], torch.Tensor]]

# name -> what the index counts. The names are TransformerLens'.
ACTIVATIONS = {
    "resid_post": "stage: 0 is the embedding, l is after block l",
    "mlp_pre": "block, counted from 0",
    "mlp_post": "block, counted from 0",
    "attn_pattern": "block, counted from 0",
}


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a network. Vocabulary and context follow from the board.

    Attributes:
        board_size: 4, 6 or 8.
        n_layer: blocks.
        n_head: attention heads of each block.
        d_model: dimensions of the residual stream, a multiple of `n_head`.
        dropout: share of activations that is left out in training.

    Raises:
        OthelloEduError: for what lies outside, and where `n_head` does not divide `d_model`.

    Example:
        >>> config = GPTConfig(board_size=6, n_layer=2, n_head=1, d_model=64)
        >>> config.vocab_size, config.n_ctx
        (33, 31)

    See Also:
        Chapter 3, :doc:`/notebooks/03_a_gpt_by_hand`.
    """

    board_size: int = 8
    n_layer: int = 8
    n_head: int = 8
    d_model: int = 128
    dropout: float = 0.0

    def __post_init__(self):
        check_board_size(self.board_size)
        for name in ("n_layer", "n_head", "d_model"):
            object.__setattr__(self, name, checks.integer(name, getattr(self, name), 1))
        if self.d_model % self.n_head:
            raise OthelloEduError(f"d_model={self.d_model} does not divide into n_head={self.n_head} heads")
        checks.number("dropout", self.dropout, low=0, below=1)

    @property
    def vocab_size(self) -> int:
        """Playable squares without the centre, and padding; 61 on 8x8."""
        return n_plies(self.board_size) + 1

    @property
    def n_ctx(self) -> int:
        """Longest sequence of moves the network can read; 59 on 8x8."""
        return n_plies(self.board_size) - 1


class Tap:
    """Sees every activation on its way: keeps those named, replaces those that `edits` names.

    Args:
        config: of the network.
        edits: as in `GPT.run_with_cache`.
        names: of the activations to keep.

    Raises:
        OthelloEduError: for an activation that does not exist, and for what are no edits.
    """

    def __init__(self, config: GPTConfig, edits: Edits, names: Iterable[str] = ()):
        checks.kind_of("edits", edits, Mapping, "a dict from (name, index) to functions")
        checks.kind_of("names", names, Iterable, f"some of {', '.join(ACTIVATIONS)}")
        self.edits = edits
        self.kept: dict[str, list[torch.Tensor]] = {name: [] for name in names}
        for place, edit in edits.items():
            if not isinstance(place, tuple) or len(place) != 2:
                raise OthelloEduError(f"edits are for (name, index), as ('resid_post', 3); not for {place!r}")
            checks.integer(f"the index of {place}", place[1])
            hint = "a function of the activation"
            checks.kind_of(f"the edit of {place}", edit, Callable, hint)  # type: ignore[arg-type]  # a class too
        for name, index in [*edits, *((name, 0) for name in self.kept)]:
            if name not in ACTIVATIONS or not 0 <= index < config.n_layer + (name == "resid_post"):
                raise OthelloEduError(
                    f"there is no activation ({name!r}, {index}): names are {', '.join(ACTIVATIONS)}; "
                    f"resid_post has stages 0..{config.n_layer}, the others blocks 0..{config.n_layer - 1}"
                )

    def wants(self, name: str) -> bool:
        """Whether anybody looks at the activation `name`."""
        return name in self.kept or any(edited == name for edited, _ in self.edits)

    def __call__(self, name: str, index: int, value: torch.Tensor) -> torch.Tensor:
        if (name, index) in self.edits:
            edited = self.edits[name, index](value)
            shape = tuple(edited.shape) if torch.is_tensor(edited) else edited
            if shape != tuple(value.shape):
                raise OthelloEduError(
                    f"the edit of ({name!r}, {index}) must return a tensor of shape {tuple(value.shape)}; "
                    f"it returned {shape}"
                )
            value = edited
        if name in self.kept:
            self.kept[name].append(value)
        return value


class Attention(nn.Module):
    """Each move looks back at the moves before it, with H heads at once.

    Args:
        config: of the network.
    """

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.n_head, self.dropout = config.n_head, config.dropout
        self.qkv = nn.Linear(config.d_model, 3 * config.d_model)
        self.out = nn.Linear(config.d_model, config.d_model)

    def forward(self, x: torch.Tensor, block: int, tap: Tap) -> torch.Tensor:
        B, T, D = x.shape
        heads = self.qkv(x).view(B, T, 3, self.n_head, D // self.n_head)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # each (B, H, T, D/H)
        dropout = self.dropout if self.training else 0.0
        if not tap.wants("attn_pattern"):
            mixed = attention(query, key, value, dropout)
        else:  # the same sum, written out, so that the pattern can be seen and changed
            scores = query @ key.transpose(-2, -1) * (D // self.n_head) ** -0.5  # (B, H, T, T)
            future = torch.ones(T, T, dtype=torch.bool, device=x.device).triu(1)
            pattern = scores.masked_fill(future, -torch.inf).softmax(-1)
            pattern = tap("attn_pattern", block, F.dropout(pattern, dropout, self.training))
            mixed = pattern @ value
        mixed = mixed.transpose(1, 2).reshape(B, T, D)
        return F.dropout(self.out(mixed), self.dropout, self.training)


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, dropout: float) -> torch.Tensor:
    """Causal attention by torch's fused kernel.

    Args:
        query: float (B, H, T, D/H).
        key: float (B, H, T, D/H).
        value: float (B, H, T, D/H).
        dropout: share of the pattern that is left out.

    Returns:
        float (B, H, T, D/H).
    """
    if query.is_cpu and query.dtype == torch.bfloat16:  # its kernel for these is many times slower
        query, key, value = query.float(), key.float(), value.float()
    with torch.autocast("cpu", enabled=False):
        return F.scaled_dot_product_attention(query, key, value, is_causal=True, dropout_p=dropout)


class MLP(nn.Module):
    """4D neurons, each reading the residual stream and writing back to it.

    Args:
        config: of the network.
    """

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.dropout = config.dropout
        self.up = nn.Linear(config.d_model, 4 * config.d_model)
        self.down = nn.Linear(4 * config.d_model, config.d_model)

    def forward(self, x: torch.Tensor, block: int, tap: Tap) -> torch.Tensor:
        hidden = tap("mlp_pre", block, self.up(x))  # (B, T, 4D)
        hidden = tap("mlp_post", block, F.gelu(hidden))
        return F.dropout(self.down(hidden), self.dropout, self.training)


class Block(nn.Module):
    """Read from the residual stream, think, add to the residual stream; twice.

    Args:
        config: of the network.
    """

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.d_model)
        self.attn = Attention(config)
        self.ln_2 = nn.LayerNorm(config.d_model)
        self.mlp = MLP(config)

    def forward(self, x: torch.Tensor, block: int, tap: Tap) -> torch.Tensor:
        x = x + self.attn(self.ln_1(x), block, tap)
        return x + self.mlp(self.ln_2(x), block, tap)


class GPT(nn.Module):
    """A GPT that reads moves and predicts the next one. Weights are drawn from torch's global seed.

    Args:
        config: its shape.

    Example:
        >>> from othello_edu.games import random_games, tokens
        >>> model = GPT(GPTConfig(board_size=4, n_layer=1, n_head=1, d_model=8))
        >>> model(tokens(random_games(2, seed=0, board_size=4))).shape  # games, moves, vocabulary
        torch.Size([2, 11, 13])

    See Also:
        Chapter 3, :doc:`/notebooks/03_a_gpt_by_hand`.
    """

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.config = checks.kind_of("config", config, GPTConfig, "a GPTConfig")
        self.token_embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.position_embedding = nn.Embedding(config.n_ctx, config.d_model)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.d_model)
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.ndim == 2:
                # What writes to the residual stream starts smaller, so that its variance does not
                # grow with depth (Radford et al., 2019, section 2.3).
                writes = name.endswith(("attn.out.weight", "mlp.down.weight"))
                nn.init.normal_(parameter, std=0.02 * ((2 * config.n_layer) ** -0.5 if writes else 1))

    @property
    def n_stages(self) -> int:
        """Stages of the residual stream, the embedding and one after each block."""
        return self.config.n_layer + 1

    def forward(self, tokens: torch.Tensor, edits: Edits | None = None) -> torch.Tensor:
        """Logits of the next move, at every move.

        Args:
            tokens: int64 [B, T].
            edits: as in `run_with_cache`.

        Returns:
            float [B, T, V].
        """
        return self._run(tokens, Tap(self.config, edits or {}))

    def run_with_cache(
        self, tokens: torch.Tensor, edits: Edits | None = None, names: Iterable[str] = ACTIVATIONS
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Run, and keep the named activations (all by default).

        Args:
            tokens: int64 [B, T].
            edits: `{(name, index): function}`; the function gets the activation and returns the tensor that
                takes its place (the cache keeps the edited one).
            names: some of `ACTIVATIONS`.

        Returns:
            `(logits, cache)`, logits float [B, T, V]. In the cache, float tensors by name.

            - resid_post: [n_stages, B, T, D].
            - mlp_pre, mlp_post: [n_layer, B, T, 4D].
            - attn_pattern: [n_layer, B, H, T, T].

        Raises:
            OthelloEduError: for a name or index that does not exist, or a replacement of another shape.

        Example:
            >>> from othello_edu.games import random_games, tokens
            >>> model = GPT(GPTConfig(board_size=4, n_layer=1, n_head=1, d_model=8))
            >>> logits, cache = model.run_with_cache(tokens(random_games(2, seed=0, board_size=4)))
            >>> cache["resid_post"].shape
            torch.Size([2, 2, 11, 8])
        """
        tap = Tap(self.config, edits or {}, names)
        logits = self._run(tokens, tap)
        return logits, {name: torch.stack(values) for name, values in tap.kept.items()}

    def logits_from(self, residual: torch.Tensor) -> torch.Tensor:
        """What the head says of a stream of any stage (the logit lens).

        Args:
            residual: float [..., D].

        Returns:
            float [..., V].
        """
        residual = checks.reals("residual", residual, "…", self.config.d_model)
        return self.head(self.ln_f(residual))

    def _run(self, tokens: torch.Tensor, tap: Tap) -> torch.Tensor:
        checks.kind_of("tokens", tokens, torch.Tensor, "a tensor, as `tokens(games)` returns it")
        if tokens.ndim != 2 or tokens.shape[1] > self.config.n_ctx:
            raise OthelloEduError(
                f"tokens have shape {tuple(tokens.shape)}; "
                f"this model reads [games, at most {self.config.n_ctx} moves]"
            )
        if tokens.dtype not in (torch.int64, torch.int32):
            raise OthelloEduError(f"tokens are {tokens.dtype}; they must be int64, as of `tokens(games)`")
        # While it trains on a GPU nobody waits for a look at what the training loop has made itself.
        if not torch.compiler.is_compiling() and (tokens.is_cpu or not self.training) and tokens.numel():
            least, most = (int(end) for end in tokens.aminmax())
            if least < 0 or most >= self.config.vocab_size:
                raise OthelloEduError(
                    f"tokens hold {least if least < 0 else most}; they must lie in "
                    f"0..{self.config.vocab_size - 1}. For squares, use `tokens(games)` or `encode_moves`"
                )
            refuse_squares(tokens, self.config.board_size)
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.token_embedding(tokens) + self.position_embedding(positions)  # (B, T, D)
        x = F.dropout(x, self.config.dropout, self.training)
        x = tap("resid_post", 0, x)
        for index, block in enumerate(self.blocks):
            x = tap("resid_post", index + 1, block(x, index, tap))
        return self.logits_from(x)


@contextmanager
def in_evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Without dropout inside the block, and afterwards as before, whatever ends the block.

    Args:
        model: any network.
    """
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def check_weights(config: GPTConfig, state: Mapping[str, torch.Tensor]) -> None:
    """Refuse weights that are not those of a `GPT` of this configuration.

    Without building it: a file may claim any number of blocks.

    Args:
        config: of the network.
        state: tensors by name, as of `state_dict()`.

    Raises:
        OthelloEduError: names the tensor that is missing or of another shape.
    """
    try:
        with torch.device("meta"):  # shapes without memory
            one_block = GPT(replace(config, n_layer=1)).state_dict()
    except (RuntimeError, TypeError, OverflowError) as error:  # more numbers than a machine can count
        raise OthelloEduError(f"no machine holds {config}: {error}") from error
    outside = {name: value.shape for name, value in one_block.items() if not name.startswith("blocks.")}
    inside = {name[9:]: value.shape for name, value in one_block.items() if name.startswith("blocks.0.")}
    n_tensors = len(outside) + config.n_layer * len(inside)
    if len(state) != n_tensors:
        raise OthelloEduError(f"there are {len(state)} tensors where {n_tensors} are needed")
    shapes = outside | {
        f"blocks.{index}.{name}": shape for index in range(config.n_layer) for name, shape in inside.items()
    }
    for name, shape in shapes.items():
        if name not in state:
            raise OthelloEduError(f"there is no tensor {name}")
        if state[name].shape != shape:
            raise OthelloEduError(f"{name} is {list(state[name].shape)}, where {list(shape)} is needed")


def checked_model(model: nn.Module) -> GPT:
    """The `model`, if it is a GPT, or wraps one as `torch.compile` does.

    Raises:
        OthelloEduError: if it is none.
    """
    if not isinstance(getattr(model, "config", None), GPTConfig) or not isinstance(model, nn.Module):
        raise OthelloEduError(f"model is {checks.shown(model)}; it must be a GPT, as of `load_pretrained`")
    return model  # type: ignore[return-value]  # what torch.compile makes of a GPT is used as one
