"""Every public function, called with what nobody should give it: it says so in the package's own words.

The functions are found, not listed: one that is added without a line in `CALLS` fails here. For each of their
parameters a right value and its kind are given, and the kind knows the wrong values. What comes back must be
an OthelloEduError; or a right answer, which is the answer to the right value where both mean the same
(`SAME`), or one that `ANSWERS` spells out.
"""

import copy
import importlib
import inspect
from collections.abc import Iterator
from types import GeneratorType

import numpy as np
import pytest
import torch

import othello_edu as oe
from othello_edu import checks, engine
from othello_edu.baselines import MajorityBaseline
from othello_edu.board_metrics import BoardReader, SparseProbe
from othello_edu.dictionaries import Cut, Directions, MeanDictionary
from othello_edu.errors import OthelloEduError
from othello_edu.evaluation import evaluate
from othello_edu.games import encode_moves, refuse_squares
from othello_edu.pretrained import CONFIG_FILE, MODEL_FILE, load_model, save_model
from othello_edu.probes import LinearProbe, MLPProbe, labelled_rows
from othello_edu.sae import JumpReLU, SparseAutoencoder, TopK
from othello_edu.scoring import auroc, auroc_resampled

MODULES = """engine games board labels activations directions probes sae sae_training dictionaries
board_metrics planted scoring baselines stability model pretrained evaluation presets checkpoints
training""".split()

# What is not called, and why.
INNER = "called within the loops of a kernel; numba refuses what are no integers with a TypeError"
LOOP = "a step of training or of the network's own, called by what is tested here"
RESULT = "holds results, made by a function that is tested here"
FILES = "reads and writes files, whose tests are in the module's own test file"
READER = "a step of reading games, called by the readers that are tested here and in test_transcripts.py"
BASE = "the base of those that are tested here"
CHECK = "is itself a check of an argument"
EXEMPT = {
    reason: names.split()
    for reason, names in {
        INNER: """engine.legal_moves engine.flips engine.mix engine.pick_bit engine.popcount
            engine.trailing_zeros""",
        LOOP: """sae.Autoencoder.forward sae.Autoencoder.normalise sae.SparseAutoencoder.activate
            sae.SparseAutoencoder.decode sae.SparseAutoencoder.loss sae.UntiedAutoencoder.decode
            sae.UntiedAutoencoder.loss sae.TopK.activate sae.JumpReLU.activate sae.JumpReLU.loss
            sae_training.unexplained sae_training.unstack dictionaries.Directions.decode
            dictionaries.Cut.decode
            dictionaries.MeanDictionary.decode model.Tap model.Tap.wants model.Attention
            model.Attention.forward
            model.MLP model.MLP.forward model.Block model.Block.forward model.attention
            training.fresh_batches training.training_step checkpoints.new_run""",
        RESULT: """dictionaries.Panel planted.Planted stability.Bracket checkpoints.StartingPoint
            checkpoints.TrainingRun checkpoints.TrainingRun.tensors""",
        BASE: """sae.Autoencoder sae.Autoencoder.hidden_pre sae.Autoencoder.activate sae.Autoencoder.decode
            sae.Autoencoder.loss sae.UntiedAutoencoder""",
        READER: "games.games_from_texts games.replay_in_parts board.passes_allowed board.Board.why_no_pass",
        CHECK: """directions.finite_rows games.checked games.refuse_squares probes.checked_labels
            model.checked_model model.check_weights model.in_evaluation_mode""",
        FILES: """pretrained.starting_point pretrained.card pretrained.card_text pretrained.trainings
            pretrained.read_card pretrained.taught_by pretrained.export training.train
            presets.TrainingConfig presets.TrainingConfig.rate
            checkpoints.read_run checkpoints.read_checkpoint checkpoints.check_folder
            checkpoints.TrainingRun.save checkpoints.TrainingRun.restore
            checkpoints.TrainingRun.save_log checkpoints.TrainingRun.mend
            pretrained.as_code pretrained.as_text pgn.read_pgn pgn.write_pgn transcripts.read_transcripts
            transcripts.write_transcripts wthor.read_wthor wthor.write_wthor""",
    }.items()
}


def public() -> Iterator[str]:
    """Names of functions, of classes and of their own methods: what the package exports, and the modules'."""
    for name in MODULES:
        module = importlib.import_module(f"othello_edu.{name}")
        for attribute, value in vars(module).items():
            compiled = hasattr(value, "py_func") or type(value).__name__ == "_Intrinsic"
            if attribute.startswith("_") or not (callable(value) or compiled):
                continue
            if inspect.getmodule(getattr(value, "py_func", value)) is module or compiled and name == "engine":
                yield f"{name}.{attribute}"
                for method, member in vars(value).items() if inspect.isclass(value) else ():
                    member = member.__func__ if isinstance(member, classmethod) else member
                    if not method.startswith("_") and inspect.isfunction(member):
                        yield f"{name}.{attribute}.{method}"
    for attribute, value in vars(oe).items():
        if callable(value) and not attribute.startswith("_"):
            yield f"{value.__module__.rpartition('.')[2]}.{attribute}"


# Kinds of arguments: from a right value to wrong ones, and to others that mean the same -------------------


class Same:
    """A value that means the same as the right one."""

    def __init__(self, value):
        self.value = value


def objects(right):
    return {
        "None": None,
        "a number": 3,
        "a text": "nonsense",
        "an array": np.zeros((2, 3)),
        "a list": [1, "a"],
    }


def counts(right, low=0, large=2**80):
    values = {
        "None": None,
        "a text": "three",
        "NaN": np.nan,
        "a fraction": 1.5,
        "a whole float": 2.0,
        "True": True,
    }
    values |= {"negative": -1, "an array": np.array([1, 2]), "complex": 1j, "NumPy's": Same(np.int64(right))}
    values |= {"zero": 0} if low > 0 else {}
    return values | ({} if large is None else {"too large": large})


def positive(right):
    return counts(right, low=1)


def unlimited(right):
    """Of steps, passes and batches: many of them take time and no memory."""
    return counts(right, low=1, large=None)


def unlimited_or_none(right):
    return counts(right, large=None)


def seeds(right):
    return counts(right)


def sizes(right):
    return counts(right) | {"ten": 10, "zero": 0, "infinite": np.inf}


def numbers(right):
    values = {"None": None, "a text": "1", "NaN": np.nan, "infinite": np.inf, "negative": -1.0, "True": True}
    return values | {"complex": 1j, "an array": np.ones(3), "NumPy's": Same(np.float64(right))}


def switches(right):
    return {"None": None, "a text": "yes", "a number": 0.5, "an array": np.array([True, False])}


def arrays(right):
    """What is wrong for every array."""
    shape = right.shape
    values = {
        "None": None,
        "a text": "nonsense",
        "a number": 7,
        "ragged": [[1], [1, 2]],
        "objects": [object()],
    }
    values |= {
        "complex": plain(right) * 1j,
        "texts": np.full(shape, "1"),
        "another shape": np.ones((1, 2, 3, 4, 5)),
    }
    return values | {"scattered": Same(scattered(right))}


def integers(right):
    low, high = plain(right).astype(np.int64), plain(right).astype(np.int64)
    low.flat[0], high.flat[-1] = -7, 2**40
    numbers = plain(right).astype(float)
    nan = numbers.copy()
    nan.flat[0] = np.nan
    values = {"floats": numbers, "NaN": nan, "negative": low, "too large": high, "empty": plain(right)[:0]}
    return arrays(right) | values | {"a list": Same(plain(right).tolist())}


def reals(right):
    nan, infinite = plain(right).copy(), plain(right).copy()
    nan.flat[0], infinite.flat[-1] = np.nan, np.inf
    values = {"NaN": nan, "infinite": infinite, "empty": plain(right)[:0], "bool": plain(right) > 0}
    return arrays(right) | values | {"the other library's": Same(other(right))}


def flags(right):
    values = {
        "integers": plain(right).astype(int),
        "floats": plain(right).astype(float),
        "empty": plain(right)[:0],
    }
    return arrays(right) | values


def squares(right):
    return {"None": None, "NaN": np.nan, "a fraction": 2.5, "True": True, "no square": "k9", "empty": ""} | {
        "negative": -1,
        "too large": 64,
        "an array": np.array([1, 2]),
    }


def texts(right):
    return {
        "None": None,
        "a number": 3,
        "bytes": b"abc",
        "nonsense": "nonsense",
        "empty": "",
        "long": "x" * 5000,
    } | {"NUL": "a\0b"}


def lists(right):
    """Lists of numbers in a range."""
    values = {
        "a number": 3,
        "a text": "12",
        "fractions": [1.5],
        "NaN": [np.nan],
        "negative": [-1],
        "twice": [1, 1],
    }
    return values | {"too large": [99], "nested": [[1]], "empty": [], "an array": Same(np.array(right))}


def functions(right):
    return {"a number": 3, "a text": "linear"}


def plain(values) -> np.ndarray:
    return values.detach().numpy() if torch.is_tensor(values) else np.asarray(values)


def other(values):
    return values.numpy() if torch.is_tensor(values) else torch.from_numpy(values)


def scattered(values):
    """The same numbers, not beside one another in memory."""
    if torch.is_tensor(values):
        return torch.stack([values, values], -1)[..., 0]
    return np.stack([values, values], -1)[..., 0]


def optional(kind):
    """As the kind, and None means the default."""
    return lambda right: {name: value for name, value in kind(right).items() if name != "None"}


# Right calls ----------------------------------------------------------------------------------------------

SIZE = 4
GAMES = oe.random_games(6, seed=0, board_size=SIZE)
POSITIONS = oe.replay(GAMES)
MODEL = oe.GPT(oe.GPTConfig(board_size=SIZE, n_layer=2, n_head=1, d_model=8)).eval()
STREAMS = oe.residual_streams(MODEL, GAMES)
LABELS = oe.contents(POSITIONS)[:, : STREAMS.shape[2]]
ROWS, TRUTH = labelled_rows(STREAMS, LABELS)
X, TRUTH = ROWS[1].clone(), TRUTH.numpy().astype(np.int8)
CODE = X.relu()
VARYING = TRUTH[:, [TRUTH[:, square].std() > 0 for square in range(64)]]  # by others, features are not ranked
BOARDS = POSITIONS.boards[POSITIONS.valid]
TO_MOVE = POSITIONS.to_move[POSITIONS.valid]
LATE = POSITIONS.boards[0, 9]
SCORES, FLAGS = X.numpy(), TRUTH[:, [18, 45]] == 1
PLY = np.arange(len(X)) % 5
SAE = SparseAutoencoder(8, 16)
PROBE, MLP = LinearProbe(epochs=1).fit(STREAMS, LABELS), MLPProbe(hidden=4, epochs=1).fit(STREAMS, LABELS)
MEANS, SPARSE = MeanDictionary().fit(X, TRUTH), SparseProbe(2).fit(CODE, VARYING)
READER, BASELINE = BoardReader().fit(CODE, TRUTH), MajorityBaseline().fit(LABELS)
PLANES = Directions(torch.eye(8), 2).fit(X)
BOARD = oe.Board.start()
FOLDER = "the folder of a saved model"
ONE_GAME = oe.random_games(1, seed=0)

ON = (("board_size", SIZE, sizes),)
PLAYERS = ("to_move", TO_MOVE, integers)
STREAM = (("streams", STREAMS, reals), ("labels", LABELS, integers))
TABLE = (("scores", SCORES, reals), ("labels", FLAGS, flags))
CODED = (("feature_acts", CODE, reals), ("labels", TRUTH, integers))
SEED = ("seed", 1, seeds)
BATCH = ("batch_size", 3, unlimited)
RUN = (("model", MODEL, objects), ("games", GAMES, objects))
DTYPE = ("dtype", torch.float32, objects)
TRAINING = (("epochs", 1, unlimited), ("batch_size", 64, unlimited), ("learning_rate", 0.01, numbers))
EDITS = {("resid_post", 1): lambda x: x}


def edits(right):
    values = {
        "a number": 3,
        "a text": "resid_post",
        "no function": {("resid_post", 1): 5},
        "no pair": {"x": abs},
    }
    for index in (1.5, -1, 3, "1", None, np.nan, True):
        values[f"index {index}"] = {("resid_post", index): abs}
    return values | {
        "another name": {("resid_pre", 1): abs},
        "another shape": {("resid_post", 1): lambda x: x[0]},
    }


def token_rows(right):
    of_squares = torch.from_numpy(ONE_GAME.moves[:, :20]).long()
    values = {
        "int8": right.to(torch.int8),
        "floats": right.float(),
        "negative": right - 2,
        "NumPy's": right.numpy(),
    }
    return values | {
        "too large": right + 50,
        "squares": of_squares,
        "one row": right[0],
        "None": None,
        "a text": "f5",
    }


def places(right):
    return {
        "None": None,
        "a number": 3,
        "empty": "",
        "nowhere": "/nowhere/at/all",
        "NUL": "a\0b",
        "long": "x" * 5000,
    }


def no_places(right):
    return {"None": None, "a number": 3}


def transcripts(right):
    values = {"no square": ["k9"], "half a square": ["d3c"], "bytes": [b"d3"], "illegal": ["a1"]}
    return objects(right) | values | {"a tuple": Same(("d3",)), "empty": []}


def names(right):
    return {"None": None, "a number": 3, "a text": "mlp", "no name": [3], "unknown": ["mlp"], "empty": []}


def shapes(right):
    return {"None": None, "a number": 3, "a list": [1], "fewer": right[:1], "flat": right[0]}


def outputs(right):
    read_only = right.numpy().copy()
    read_only.flags.writeable = False
    values = {"a number": 3, "a list": [1.0], "another shape": right[:1], "integers": right.long()}
    return values | {"read-only": read_only, "texts": np.full(right.shape, "a")}


class On:
    """What a method is called on."""

    def __init__(self, thing):
        self.thing = thing


# Name -> (parameter, right value, kind) of each parameter. A method's object comes first, as `On(object)`.
CALLS = {
    # engine
    **{f"engine.{name}": ON for name in ("n_plies", "check_board_size", "playable_squares")},
    "engine.to_bits": [("squares", np.array([3, 5]), integers)],
    "engine.random_moves": [("n_games", 5, counts), SEED, *ON, ("first", 2, counts)],
    "engine.perft": [("depth", 3, counts), ("board_size", 6, sizes)],
    "engine.replay_moves": [("moves", GAMES.moves, integers), *ON],
    # games
    "games.Games": [("moves", GAMES.moves, integers), *ON],
    "games.Games.from_transcripts": [("transcripts", ["d3"], transcripts), *ON],
    "games.Games.transcript": [On(GAMES), ("game", 2, counts)],
    "games.Games.board": [On(GAMES), ("game", 2, counts), ("ply", 3, optional(counts))],
    "games.Positions": [
        ("boards", POSITIONS.boards, shapes),
        *((name, getattr(POSITIONS, name), shapes) for name in ("to_move", "legal", "valid")),
        *ON,
    ],
    **{
        f"games.{name}": [("games", GAMES, objects)]
        for name in ("replay", "tokens", "next_tokens", "final_scores")
    },
    "games.random_games": [("n_games", 5, counts), SEED, *ON, ("first", 2, counts)],
    "games.without_duplicates": [("games", GAMES, objects), ("excluded", GAMES[:2], optional(objects))],
    "games.split_games": [*((f"n_{part}", 2, counts) for part in ("train", "validation", "test")), SEED, *ON],
    **{f"games.{name}": ON for name in ("move_squares", "vocabulary_size")},
    "games.encode_moves": [("moves", GAMES.moves, integers), *ON],
    "games.batches": [("games", GAMES, objects), ("size", 4, unlimited)],
    # board
    "board.square_name": [("square", 37, squares)],
    "board.parse_square": [("square", "f5", squares)],
    "board.parse_transcript": [("text", "f5d6", texts)],
    "board.squares_of": [("bits", 5, counts)],
    "board.Board": [
        ("black", 1, counts),
        ("white", 2, counts),
        ("to_move", 1, counts),
        ("board_size", 8, sizes),
    ],
    "board.Board.start": ON,
    "board.Board.parse": [
        ("text", str(BOARD), texts),
        ("to_move", 1, optional(counts)),
        ("board_size", 8, sizes),
    ],
    "board.Board.from_contents": [("contents", BOARD.contents, integers), ("to_move", 1, counts), *ON],
    "board.Board.from_moves": [("moves", "f5d6", texts), ("board_size", 8, sizes)],
    "board.Board.count": [On(BOARD), ("player", 1, counts)],
    "board.Board.flips": [On(BOARD), ("square", "f5", squares)],
    "board.Board.play": [On(BOARD), ("square", "f5", squares)],
    "board.Board.svg": [On(BOARD), ("width", 300, unlimited)],
    # labels
    **{
        f"labels.{name}": [("positions", POSITIONS, objects)]
        for name in ("contents movers boards_before contents_before colours legal_tokens plies".split())
    },
    "labels.legal_distribution": [("games", GAMES, objects)],
    # activations
    "activations.residual_streams": [
        *RUN,
        ("stages", [0, 2], optional(lists)),
        ("plies", [1, 2], optional(lists)),
        DTYPE,
        ("out", torch.zeros(2, 6, 2, 8), optional(outputs)),
        BATCH,
    ],
    "activations.mlp_activations": [
        *RUN,
        ("blocks", [0, 1], optional(lists)),
        ("plies", [1, 2], optional(lists)),
        DTYPE,
        ("out", torch.zeros(2, 6, 2, 32), optional(outputs)),
        BATCH,
    ],
    # probes
    "probes.LinearProbe": [*TRAINING, SEED, ("with_bias", True, switches)],
    "probes.MLPProbe": [("hidden", 4, unlimited), *TRAINING, SEED],
    "probes.LinearProbe.from_weights": [("weight", PROBE.weight, reals), ("bias", PROBE.bias, reals)],
    "probes.LinearProbe.fit": [On(LinearProbe(epochs=1)), *STREAM],
    "probes.MLPProbe.fit": [On(MLPProbe(4, epochs=1)), *STREAM],
    **{f"probes.{type(probe).__name__}.logits": [On(probe), STREAM[0]] for probe in (PROBE, MLP)},
    "probes.LinearProbe.predict": [On(PROBE), STREAM[0]],
    "probes.LinearProbe.score": [On(PROBE), *STREAM],
    # baselines
    "baselines.MajorityBaseline": [],
    "baselines.MajorityBaseline.fit": [On(MajorityBaseline()), ("labels", LABELS, integers)],
    "baselines.MajorityBaseline.predict": [On(BASELINE), ("n_games", 4, counts)],
    "baselines.MajorityBaseline.score": [On(BASELINE), ("labels", LABELS, integers)],
    "probes.shuffled": [("labels", LABELS, integers), SEED],
    "probes.accuracy": [
        ("predicted", LABELS.copy(), integers),
        ("labels", LABELS, integers),
        ("by", "ply", optional(texts)),
    ],
    "probes.balanced_accuracy": [("predicted", LABELS.copy(), integers), ("labels", LABELS, integers)],
    "probes.labelled_rows": STREAM,
    # directions
    "directions.principal_components": [("x", X, reals)],
    "directions.both_signs": [("directions", torch.eye(8), reals)],
    "directions.random_directions": [("d", 3, positive), ("n", 4, positive), SEED],
    "directions.random_matrix": [("rows", 3, positive), ("columns", 4, positive), SEED],
    "directions.stretched": [("directions", torch.eye(8), reals), ("x", X, reals)],
    "directions.cosines": [("directions", torch.eye(8), reals), ("others", torch.eye(8), reals)],
    "directions.best_cosines": [("directions", torch.eye(8), reals), ("others", torch.eye(8), reals)],
    # sae
    "sae.SparseAutoencoder": [
        ("d_model", 8, positive),
        ("n_features", 16, positive),
        SEED,
        ("l1", 0.1, numbers),
        ("squared", True, switches),
    ],
    "sae.TopK": [("d_model", 8, positive), ("n_features", 16, positive), ("k", 2, positive), SEED],
    "sae.JumpReLU": [
        ("d_model", 8, positive),
        ("n_features", 16, positive),
        ("l0", 2, numbers),
        SEED,
        ("strength", 0.1, numbers),
    ],
    "sae.Autoencoder.encode": [On(JumpReLU(8, 16, 2)), ("x", X, reals)],
    "sae.SparseAutoencoder.hidden_pre": [On(SAE), ("x", X, reals)],
    "sae.UntiedAutoencoder.hidden_pre": [On(TopK(8, 16, 2)), ("x", X, reals)],
    "sae.UntiedAutoencoder.rescale": [On(TopK(8, 16, 2)), ("scale", 2.0, numbers)],
    "sae.JumpReLU.rescale": [On(JumpReLU(8, 16, 2)), ("scale", 2.0, numbers)],
    "sae.keep_largest": [("hidden_pre", X, reals), ("k", 2, counts)],
    # sae_training
    "sae_training.stack": [("saes", [SAE, SparseAutoencoder(8, 16, 1)], objects)],
    "sae_training.linear_fall": [("step", 1, unlimited_or_none), ("n_steps", 10, unlimited)],
    "sae_training.fit": [
        ("sae", SAE, objects),
        ("x", X, reals),
        ("epochs", 1, unlimited_or_none),
        *TRAINING[1:],
        ("order", 1, seeds),
        ("schedule", lambda step, n: 1.0, functions),
        ("weight_decay", 0.1, numbers),
    ],
    "sae_training.train_sae": [
        ("x", X, reals),
        ("n_features", 16, optional(positive)),
        ("l1", 0.1, numbers),
        ("epochs", 1, unlimited_or_none),
        *TRAINING[1:],
        SEED,
    ],
    # dictionaries
    "dictionaries.panel": [
        ("model", MODEL, objects),
        ("dictionary", PLANES, objects),
        ("stage", 1, counts),
        ("games", GAMES, objects),
        ("plies", [1, 2], optional(lists)),
        BATCH,
        ("source", STREAMS[1][:, 1:3], optional(reals)),
    ],
    "dictionaries.Directions": [("directions", torch.eye(8), reals), ("k", 2, positive)],
    "dictionaries.Directions.fit": [
        On(Directions(torch.eye(8), 2)),
        ("x", X, reals),
        ("source", X, optional(reals)),
    ],
    "dictionaries.Directions.encode": [On(PLANES), ("source", X, reals)],
    "dictionaries.Cut": [("dictionary", PLANES, objects), ("cut", 0.5, numbers)],
    "dictionaries.Cut.encode": [On(Cut(PLANES, 0.5)), ("source", X, reals)],
    "dictionaries.at_l0": [("dictionary", PLANES, objects), ("source", X, reals), ("l0", 1.5, numbers)],
    "dictionaries.MeanDictionary": [("least_squares", True, switches)],
    "dictionaries.MeanDictionary.fit": [On(MeanDictionary()), ("x", X, reals), ("labels", TRUTH, integers)],
    "dictionaries.MeanDictionary.encode": [On(MEANS), ("labels", TRUTH, integers)],
    "dictionaries.best_correlations": [("feature_acts", CODE, reals), ("others", X, reals)],
    # board_metrics
    "board_metrics.properties": [("labels", TRUTH, integers)],
    "board_metrics.coverage": [
        *CODED,
        ("new_feature_acts", CODE[:9], optional(reals)),
        ("new_labels", TRUTH[:9], optional(integers)),
    ],
    "board_metrics.BoardReader": [],
    "board_metrics.BoardReader.fit": [On(BoardReader()), *CODED],
    "board_metrics.BoardReader.predict": [On(READER), CODED[0]],
    "board_metrics.BoardReader.score": [On(READER), *CODED],
    "board_metrics.description_bits": [CODED[0], ("step", 0.5, numbers)],
    "board_metrics.choose_features": [CODED[0], ("labels", VARYING, integers), ("k", 2, positive)],
    "board_metrics.SparseProbe": [
        ("k", 2, unlimited),
        ("ridge", 0.1, numbers),
        ("max_steps", 3, unlimited_or_none),
    ],
    "board_metrics.SparseProbe.fit": [On(SparseProbe(2)), CODED[0], ("labels", VARYING, integers)],
    "board_metrics.SparseProbe.predict": [On(SPARSE), CODED[0]],
    "board_metrics.SparseProbe.score": [On(SPARSE), CODED[0], ("labels", VARYING, integers)],
    # planted
    "planted.planted_streams": [
        ("x", X, reals),
        ("labels", VARYING, integers),
        ("ply", 1.0 * PLY, reals),
        ("share", 0.5, numbers),
        SEED,
    ],
    # scoring
    "scoring.auroc": TABLE,
    "scoring.auroc_within": [*TABLE, ("groups", PLY, integers)],
    "scoring.auroc_resampled": [
        ("scores", SCORES[:, :2], reals),
        TABLE[1],
        ("games", PLY, integers),
        SEED,
        ("groups", PLY % 2, optional(integers)),
        ("among", FLAGS | True, optional(flags)),
        ("n_resamples", 5, counts),
    ],
    "scoring.f1": [("active", SCORES > 0, flags), TABLE[1]],
    "scoring.bootstrap_interval": [
        ("statistic", np.arange(6.0), arrays),
        ("n_games", 6, positive),
        SEED,
        ("n_resamples", 9, unlimited),
        ("level", 0.9, numbers),
    ],
    "baselines.ply_score": [("boards", BOARDS, integers)],
    "baselines.lead_score": [("boards", BOARDS, integers), PLAYERS],
    "baselines.occupied_score": [("boards", BOARDS, integers)],
    "baselines.nearest_corner_score": [("boards", BOARDS, integers), *ON],
    "baselines.occupied_corner_score": [("boards", BOARDS, integers), *ON],
    "baselines.baselines": [("boards", BOARDS, integers), PLAYERS, ("labels", BOARDS == 1, flags), *ON],
    # stability
    "stability.stable_paper": [("boards", BOARDS, integers), *ON],
    "stability.stable_sound": [("boards", BOARDS, integers), *ON],
    "stability.refuted": [
        ("boards", BOARDS, integers),
        PLAYERS,
        ("n_playouts", 2, counts),
        SEED,
        *ON,
        ("sought", BOARDS > 0, optional(flags)),
    ],
    "stability.stable_exact": [
        ("board", LATE, integers),
        ("to_move", int(POSITIONS.to_move[0, 9]), counts),
        *ON,
    ],
    "stability.bracket": [("positions", POSITIONS, objects), ("n_playouts", 2, counts), SEED],
    # model
    "model.GPTConfig": [
        *ON,
        ("n_layer", 1, unlimited),
        ("n_head", 1, unlimited),
        ("d_model", 8, unlimited),
        ("dropout", 0.1, numbers),
    ],
    "model.GPT": [("config", MODEL.config, objects)],
    "model.GPT.forward": [On(MODEL), ("tokens", oe.tokens(GAMES), token_rows), ("edits", EDITS, edits)],
    "model.GPT.run_with_cache": [
        On(MODEL),
        ("tokens", oe.tokens(GAMES), token_rows),
        ("edits", EDITS, edits),
        ("names", ["mlp_post"], names),
    ],
    "model.GPT.logits_from": [On(MODEL), ("residual", X, reals)],
    # pretrained, evaluation
    "pretrained.shipped": [],
    "pretrained.model_folder": [("name", "small", texts)],
    "pretrained.load_pretrained": [("name", "small", texts)],
    "pretrained.rounded": [("model", MODEL, objects)],
    "pretrained.save_model": [("model", MODEL, objects), ("folder", FOLDER, no_places)],
    "pretrained.load_model": [("folder", FOLDER, places)],
    "evaluation.evaluate": [*RUN, BATCH],
    "evaluation.calibration": [
        ("confidence", np.array([0.5, 0.2]), arrays),
        ("truth", np.array([0.4, 0.1]), arrays),
        ("n_bins", 5, unlimited),
    ],
}


# The test -------------------------------------------------------------------------------------------------


def nothing(result, right):
    """Of nothing, nothing: an empty result, or a share of nothing, which is NaN."""
    if isinstance(result, tuple):
        return all(nothing(part, right) for part in result)
    return np.isnan(result) if isinstance(result, float) else len(result) == 0


def visible(result, right):
    """What is no number stays none, where everybody sees it."""
    return not np.isfinite(plain(result)).all()


def another(result, right):
    """A right answer to another question: the shape is that of the right one's."""
    return type(result) is type(right) and np.shape(plain(result)) == np.shape(plain(right))


ENCODERS = ("Autoencoder.encode", "SparseAutoencoder.hidden_pre", "UntiedAutoencoder.hidden_pre")

# What is answered though it may look wrong: (name, parameter, what) -> whether the answer is right.
ANSWERS = {
    ("engine.to_bits", "squares", "a number"): lambda result, right: result == 1 << 7,
    ("engine.to_bits", "squares", "empty"): lambda result, right: result == 0,
    ("engine.replay_moves", "moves", "negative"): lambda result, right: (
        not result[3][0].any()
    ),  # any ends a game
    ("engine.replay_moves", "moves", "empty"): nothing,
    ("games.Games", "moves", "empty"): nothing,
    ("games.Games.from_transcripts", "transcripts", "empty"): nothing,
    ("games.Games.transcript", "game", "negative"): lambda result, right: result == GAMES.transcript(5),
    ("games.Games.board", "game", "negative"): lambda result, right: result == GAMES.board(5, 3),
    ("games.Games.board", "ply", "negative"): lambda result, right: result == oe.Board.start(SIZE),
    ("games.encode_moves", "moves", "empty"): nothing,
    ("board.Board.from_contents", "contents", "floats"): lambda result, right: result == right,
    ("board.Board.from_moves", "moves", "empty"): lambda result, right: result == BOARD,
    ("board.parse_transcript", "text", "empty"): lambda result, right: result == ([], []),
    ("activations.residual_streams", "plies", "twice"): lambda result, right: same(
        result[..., 0, :], result[..., 1, :]
    ),
    ("activations.mlp_activations", "plies", "twice"): lambda result, right: same(
        result[..., 0, :], result[..., 1, :]
    ),
    **{
        (f"probes.{kind}.logits", "streams", what): visible
        for kind in ("LinearProbe", "MLPProbe")
        for what in ("NaN", "infinite")
    },
    ("baselines.MajorityBaseline.score", "labels", "empty"): nothing,
    ("probes.shuffled", "labels", "empty"): nothing,
    # Predictions may be anything, and labels of other classes are never predicted.
    **{
        (f"probes.{score}", "predicted", what): lambda result, right: np.all(result <= right)
        for score in ("accuracy", "balanced_accuracy")
        for what in ("negative", "too large")
    },
    **{
        (f"probes.{score}", "labels", "too large"): lambda result, right: np.all(result <= right)
        for score in ("accuracy", "balanced_accuracy")
    },
    ("sae.keep_largest", "hidden_pre", "another shape"): lambda result, right: (
        (result > 0).sum(-1).eq(2).all()
    ),
    ("sae.keep_largest", "hidden_pre", "empty"): nothing,
    **{
        (name, parameter, what): visible
        for what in ("NaN", "infinite")
        for name, parameter in (
            ("sae.keep_largest", "hidden_pre"),
            ("directions.both_signs", "directions"),
            ("dictionaries.Directions.encode", "source"),
            ("dictionaries.Cut.encode", "source"),
            ("model.GPT.logits_from", "residual"),
            *((f"sae.{name}", "x") for name in ENCODERS),
        )
    },
    **{(f"sae.{name}", "x", "empty"): nothing for name in ENCODERS},
    ("sae_training.train_sae", "x", "another shape"): lambda result, right: result.d_model == 5,
    ("dictionaries.Directions.encode", "source", "empty"): nothing,
    ("dictionaries.Cut.encode", "source", "empty"): nothing,
    ("directions.both_signs", "directions", "empty"): nothing,
    ("dictionaries.MeanDictionary.encode", "labels", "empty"): nothing,
    ("board_metrics.properties", "labels", "empty"): nothing,
    ("board_metrics.BoardReader.predict", "feature_acts", "empty"): nothing,
    ("board_metrics.choose_features", "k", "too large"): lambda result, right: (
        result.shape[1] == CODE.shape[1]
    ),
    ("board_metrics.SparseProbe.predict", "feature_acts", "empty"): nothing,
    **{
        (name, "scores", "bool"): another
        for name in ("scoring.auroc", "scoring.auroc_within", "scoring.auroc_resampled")
    },
    **{
        (name, "groups", what): another
        for name in ("scoring.auroc_within", "scoring.auroc_resampled")
        for what in ("negative", "too large")
    },
    **{
        (f"baselines.{name}", "boards", "empty"): nothing
        for name in ("ply_score", "occupied_score", "nearest_corner_score", "occupied_corner_score")
    },
    **{(f"stability.stable_{name}", "boards", "empty"): nothing for name in ("paper", "sound")},
    ("model.GPT.run_with_cache", "names", "empty"): lambda result, right: result[1] == {},
    ("model.GPT.logits_from", "residual", "empty"): nothing,
}


def function_of(name: str, line):
    """The function, or the method of what it is called on, and its arguments."""
    things = [entry.thing for entry in line if isinstance(entry, On)]
    arguments = {entry[0]: entry[1] for entry in line if not isinstance(entry, On)}
    module, *path = name.split(".")
    if things:
        return getattr(copy.deepcopy(things[0]), path[-1]), copy.deepcopy(arguments)
    function = importlib.import_module(f"othello_edu.{module}")
    for part in path:
        function = getattr(function, part)
    return function, copy.deepcopy(arguments)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_model(MODEL, folder)
    return folder


def called(name, folder, /, **changes):
    function, arguments = function_of(name, CALLS[name])
    arguments |= changes
    arguments = {key: folder if value is FOLDER else value for key, value in arguments.items()}
    result = function(**arguments)
    return list(result) if isinstance(result, GeneratorType) else result


def same(first, second) -> bool:
    """Whether two results are the same answer."""
    if torch.is_tensor(first) or isinstance(first, np.ndarray):
        first, second = plain(first), plain(second)
        alike = first.dtype.kind == second.dtype.kind and first.shape == second.shape
        return alike and np.allclose(first, second, 1e-4, 1e-5, equal_nan=True)
    if isinstance(first, torch.nn.Module):
        return same(first.state_dict(), second.state_dict())
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    if type(first).__module__.startswith("othello_edu"):
        return same(vars(first), vars(second))
    return first == second or (first != first and second != second)


def test_every_public_function_is_called_or_exempt_for_a_reason():
    exempt = [name for names in EXEMPT.values() for name in names]
    assert sorted({*public()} - {*CALLS, *exempt}) == []
    assert (
        sorted({*CALLS, *exempt} - {*public()} - {"probes.LinearProbe.predict", "probes.LinearProbe.score"})
        == []
    )
    assert not {*CALLS} & {*exempt}


@pytest.mark.parametrize("name", CALLS)
def test_every_parameter_is_tried(name):
    function, arguments = function_of(name, CALLS[name])
    assert [*arguments] == [*inspect.signature(function).parameters]


@pytest.mark.parametrize("name", CALLS)
def test_wrong_values_are_refused_in_our_own_words(name, folder):
    right, complaints = called(name, folder), []
    for parameter, value, kind in (entry for entry in CALLS[name] if not isinstance(entry, On)):
        for what, wrong in kind(value).items():
            try:
                result = called(
                    name, folder, **{parameter: wrong.value if isinstance(wrong, Same) else wrong}
                )
            except OthelloEduError as error:
                assert len(str(error)) > 20
                if isinstance(wrong, Same):
                    complaints.append(f"{parameter}, {what}: refused: {error}")
            except Exception as error:
                complaints.append(f"{parameter}, {what}: {type(error).__name__}: {str(error)[:100]}")
            else:
                if isinstance(wrong, Same):
                    answered = same(result, right)
                else:
                    answered = ANSWERS.get((name, parameter, what), lambda result, right: False)(
                        result, right
                    )
                if not answered:
                    complaints.append(f"{parameter}, {what}: answered {str(result)[:60]!r}")
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("name", CALLS)
def test_missing_and_unknown_arguments_are_a_type_error(name, folder):
    with pytest.raises(TypeError):
        called(name, folder, no_such_argument=1)
    function, arguments = function_of(name, CALLS[name])
    for parameter in inspect.signature(function).parameters.values():
        if parameter.default is parameter.empty:
            with pytest.raises(TypeError):
                function(**{key: value for key, value in arguments.items() if key != parameter.name})


# Kinds of faults that a table of arguments does not reach -------------------------------------------------


@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("kind", [LinearProbe, MLPProbe])
def test_streams_that_are_not_finite_are_refused_where_they_count(kind, number):
    settings = {"hidden": 4} if kind is MLPProbe else {}
    probe, bad = kind(epochs=1, **settings), STREAMS.clone()
    bad[1, 2, 3, 0] = number
    masked = LABELS.copy()
    masked[2, 3] = -1
    with pytest.raises(
        OthelloEduError, match="streams of stage 1 are not finite in 1 rows that have a label"
    ):
        probe.fit(bad, LABELS)
    probe.fit(bad, masked)  # in a row without a label it does not matter
    expected = kind(epochs=1, **settings).fit(STREAMS, masked)
    torch.testing.assert_close(probe.weight, expected.weight)
    assert np.array_equal(probe.score(bad, masked), expected.score(STREAMS, masked))
    with pytest.raises(OthelloEduError, match="not finite"):
        probe.score(bad, LABELS)
    with pytest.raises(OthelloEduError, match=rf"streams\[1, 2, 3, 0\] is {number}"):
        probe.predict(bad)


def test_probes_take_numpy_streams_and_refuse_labels_that_are_no_integers():
    probe = LinearProbe(epochs=1).fit(STREAMS.numpy(), torch.from_numpy(LABELS))
    assert torch.equal(probe.weight, PROBE.weight)
    assert np.array_equal(probe.predict(STREAMS.numpy()[:, ::-1]), PROBE.predict(STREAMS.flip(1)))
    with pytest.raises(OthelloEduError, match="labels are float64; they must be integers"):
        LinearProbe(epochs=1).fit(STREAMS, LABELS + 0.7)


def test_large_sums_of_finite_numbers_are_finite():
    assert checks.is_finite(torch.full((10,), 3e38)) and checks.is_finite(torch.full((10,), 6e4).half())
    assert not checks.is_finite(torch.tensor([torch.inf, -torch.inf])) and checks.is_finite(torch.empty(0))


def test_auroc_compares_large_integers_exactly():
    labels = np.array([[False], [True]])
    for big in (np.array([[2**53], [2**53 + 1]]), np.array([[2**64 - 2], [2**64 - 1]], np.uint64)):
        assert auroc(big, labels).item() == 1 and auroc(big[::-1], labels).item() == 0
        assert auroc_resampled(big, labels, [0, 1], seed=0, n_resamples=0).item() == 1
    longer = np.longdouble(1) + np.array([[0], [1]]) * np.finfo(np.longdouble).eps
    assert auroc(longer, labels).item() == (1 if longer[0] < longer[1] else 0.5)
    signed = np.array([[-(2**60)], [0], [1], [-(2**60) + 1]])
    assert auroc(signed, np.array([[False], [True], [True], [False]])).item() == 1


@pytest.mark.parametrize("games", [[-1, 0], [0, -(2**40)], [0.0, np.nan], [0, 2**62]], ids=str)
def test_no_game_is_looked_up_out_of_bounds(games):
    with pytest.raises(OthelloEduError, match="games"):
        auroc_resampled(np.array([[0.0], [1.0]]), np.array([[False], [True]]), games, seed=0)


@pytest.mark.parametrize("size", [4, 6, 8])
def test_no_game_as_tokens_begins_like_a_game_as_squares(size):
    """So that taking squares for tokens is found out, and tokens are never taken for squares."""
    games = oe.random_games(400, seed=0, board_size=size)
    assert len(np.unique(games.moves[:, :2], axis=0)) == 12, "all the ways to begin"
    for game in range(len(games)):
        refuse_squares(oe.tokens(games[game]), size)
        with pytest.raises(OthelloEduError, match="tokens are squares"):
            refuse_squares(torch.from_numpy(games[game].moves), size)
    refuse_squares(
        torch.from_numpy(np.concatenate([games.moves[:1], encode_moves(games.moves[:1], size)])), size
    )


def test_discs_lie_on_squares_of_the_board_and_not_on_each_other():
    with pytest.raises(OthelloEduError, match="a1 holds a black and a white disc"):
        oe.Board(3, 3)
    with pytest.raises(OthelloEduError, match="a1 is outside the 6x6 board"):
        oe.Board(1, 2, board_size=6)
    assert oe.Board(np.uint64(1), np.uint64(2), np.int8(1)) == oe.Board(1, 2)


def test_weights_that_are_not_finite_are_refused_with_the_name_of_their_file(tmp_path):
    model = oe.GPT(MODEL.config)
    model.blocks[1].mlp.up.weight.data[0, 0] = torch.nan
    save_model(model, tmp_path)
    with pytest.raises(OthelloEduError, match=f"{MODEL_FILE} holds blocks.1.mlp.up.weight, in which numbers"):
        load_model(tmp_path)
    assert (tmp_path / CONFIG_FILE).exists()


def test_games_without_a_second_move_cannot_measure_a_model():
    moves = np.full_like(GAMES.moves[:2], -1)
    for games in (oe.Games(moves, SIZE), oe.Games(np.c_[GAMES.moves[:2, :1], moves[:, 1:]], SIZE)):
        with pytest.raises(OthelloEduError, match="no game with a second move"):
            evaluate(MODEL, games)


# Memory ---------------------------------------------------------------------------------------------------

TWO_GIB = 2 * 2**30


@pytest.mark.parametrize(
    "ask",
    [
        lambda: oe.random_games(10**9, seed=0),
        lambda: oe.split_games(10**8, 10, 10, seed=0),
        lambda: oe.replay(oe.Games(np.full((400_000, 60), -1, np.int8))),
        lambda: engine.replay_moves(np.full((400_000, 60), -1, np.int8)),
        lambda: SparseAutoencoder(10**5, 10**6),
        lambda: auroc_resampled(np.zeros((1, 1)), np.ones((1, 1), bool), [10**9], seed=0),
        lambda: oe.residual_streams(oe.GPT(oe.GPTConfig(n_layer=16, n_head=1)), oe.Games(
            np.full((20_000, 60), -1, np.int8))),
    ],
    ids=["games", "split", "replay", "moves", "weights", "resamples", "streams"],
)  # fmt: skip
def test_what_cannot_fit_into_memory_says_what_it_needs_before_it_starts(ask, monkeypatch):
    monkeypatch.setattr(checks, "available_memory", lambda: TWO_GIB)
    with pytest.raises(OthelloEduError, match=r"need [\d,.]+ GiB of memory, and 2.0 GiB are available"):
        ask()


def test_what_fits_is_not_refused(monkeypatch):
    monkeypatch.setattr(checks, "available_memory", lambda: TWO_GIB)
    checks.memory("numbers", TWO_GIB)
    with pytest.raises(OthelloEduError, match="numbers need 2.0 GiB"):
        checks.memory("numbers", TWO_GIB + 1)
    monkeypatch.setattr(checks, "available_memory", lambda: None)  # a system that does not tell
    checks.memory("numbers", 2**60)


@pytest.mark.parametrize(
    "files, expected",
    [
        ({"/proc/meminfo": ["MemTotal: 16 kB", "MemAvailable: 8 kB"]}, 8192),
        (
            {
                "/proc/meminfo": ["MemAvailable: 8 kB"],
                "/sys/fs/cgroup/memory.max": ["5000"],
                "/sys/fs/cgroup/memory.current": ["4000"],
                "/sys/fs/cgroup/memory.stat": ["anon 1", "inactive_file 500"],
            },
            1500,
        ),
        (
            {
                "/proc/meminfo": ["MemAvailable: 8 kB"],
                "/sys/fs/cgroup/memory.max": ["max"],
                "/sys/fs/cgroup/memory.current": ["4000"],
            },
            8192,
        ),
        (
            {
                "/sys/fs/cgroup/memory/memory.limit_in_bytes": ["3000"],
                "/sys/fs/cgroup/memory/memory.usage_in_bytes": ["1000"],
            },
            2000,
        ),
    ],
    ids=["a machine", "a container", "a container without a limit", "an older container"],
)
def test_memory_is_what_machine_and_container_leave(files, expected, monkeypatch):
    monkeypatch.setattr(checks, "_lines", lambda path: files.get(path, []))
    monkeypatch.setattr(checks, "_of_process", lambda: None)
    assert checks.available_memory() == expected


def test_memory_is_known_here():
    assert checks.available_memory() is None or checks.available_memory() > 2**20
