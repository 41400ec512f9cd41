"""How well a model predicts legal moves, and how far its probabilities can be believed.

See Also:
    Chapter 4, :doc:`/notebooks/04_training`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from . import checks
from .errors import OthelloEduError
from .games import PADDING, Games, batches, checked, next_tokens, replay, tokens
from .labels import legal_tokens
from .model import GPT, checked_model, in_evaluation_mode


@torch.no_grad()
def evaluate(model: GPT, games: Games, batch_size: int = 256) -> dict[str, Any]:
    """How well a model predicts legal moves, over moves 2 to the last of these games.

    Padding is never a prediction.

    Args:
        model: on any device.
        games: of the model's board.
        batch_size: games at a time.

    Returns:
        A dict of measures by name.

        - loss: nats per move.
        - excess_loss: mean KL divergence from the uniform distribution over legal moves, nats; 0 is perfect
          on random games.
        - legal_rate: share of moves where the likeliest one is legal.
        - legal_mass: probability on legal moves, in the mean.
        - calibration: see `calibration`.
        - legal_rate_by_ply: float [n_plies], entry `t` for the prediction of move `t` counted from 0 (NaN
          at 0 and where no game got that far).

    Raises:
        OthelloEduError: if there are no games, none of them has a second move, or they are on another board.

    Example:
        >>> from othello_edu.games import random_games
        >>> from othello_edu.pretrained import load_pretrained
        >>> metrics = evaluate(load_pretrained("small"), random_games(5, seed=0))
        >>> metrics["legal_rate"] > 0.9
        True
    """
    checked(games), checked_model(model)
    batch_size = checks.integer("batch_size", batch_size, 1)
    if games.board_size != model.config.board_size or len(games) == 0:
        raise OthelloEduError(
            f"a model of board size {model.config.board_size} cannot be measured on {games}"
        )
    if not (games.lengths > 1).any():
        raise OthelloEduError(f"{games} has no game with a second move: there is nothing to predict")
    device = next(model.parameters()).device
    all_rows, all_counted = [], []
    with in_evaluation_mode(model):
        for batch in batches(games, batch_size):
            targets = next_tokens(batch)
            legal = torch.from_numpy(legal_tokens(replay(batch))[:, :-1])
            logits = model(tokens(batch).to(device)).float().cpu()
            logits[..., PADDING] = -torch.inf
            log_p = logits.log_softmax(-1)
            n_legal = legal.sum(-1)
            likeliest = logits.argmax(-1, keepdim=True)
            allowed = legal.gather(-1, likeliest)[..., 0].float()
            sums = torch.stack(
                [
                    -log_p.gather(-1, targets[..., None])[..., 0],
                    -log_p.masked_fill(~legal, 0).sum(-1) / n_legal - n_legal.log(),
                    allowed,
                    log_p.exp().masked_fill(~legal, 0).sum(-1),
                    log_p.gather(-1, likeliest)[..., 0].exp(),
                    allowed / n_legal,
                ],
                dim=-1,
            ).double()
            all_rows.append(sums)
            all_counted.append(targets != PADDING)
    rows, counted = torch.cat(all_rows), torch.cat(all_counted)  # (games, T, 6), (games, T)
    means = rows[counted].mean(0).tolist()[:4]
    by_ply = (rows[..., 2].where(counted, 0).sum(0) / counted.sum(0)).numpy()
    names = ("loss", "excess_loss", "legal_rate", "legal_mass")
    return {
        **dict(zip(names, means, strict=True)),
        "calibration": calibration(*rows[counted][:, 4:].T.numpy()),
        "legal_rate_by_ply": np.concatenate([[np.nan], by_ply]),
    }


def calibration(confidence: npt.ArrayLike, truth: npt.ArrayLike, n_bins: int = 10) -> dict[str, Any]:
    """How far a stated probability can be believed, in bins of equal width.

    Args:
        confidence: float [n], the probability that a model gives its likeliest move.
        truth: float [n], the probability with which that move is played, known exactly on random games:
            1 / legal moves, or 0 if it is illegal.
        n_bins: of the range 0 to 1.

    Returns:
        A dict. Bin by bin where there is anything, lists n, confidence and truth (means); and error, the mean
        absolute difference of the two, weighted by n (expected calibration error).

    Raises:
        OthelloEduError: if there is nothing, or the two are of different lengths.

    References:
        Guo et al. (2017), On Calibration of Modern Neural Networks.

    Example:
        >>> calibration(np.array([0.5, 0.5]), np.array([1.0, 0.0]))
        {'error': 0.0, 'n': [2], 'confidence': [0.5], 'truth': [0.5]}
    """
    n_bins = checks.integer("n_bins", n_bins, 1)
    confidence = checks.reals("confidence", confidence, "n").numpy()
    truth = checks.reals("truth", truth, len(confidence)).numpy()
    if len(truth) == 0:
        raise OthelloEduError("confidence is empty: there is nothing to calibrate")
    bins = np.clip(np.nan_to_num(confidence * n_bins), 0, n_bins - 1).astype(int)
    n = np.bincount(bins, minlength=n_bins)
    used = n > 0
    means = [np.bincount(bins, x, n_bins)[used] / n[used] for x in (confidence, truth)]
    error = np.average(np.abs(means[0] - means[1]), weights=n[used])
    means = [mean.round(5).tolist() for mean in means]
    return {"error": float(error), "n": n[used].tolist(), "confidence": means[0], "truth": means[1]}
