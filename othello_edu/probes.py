"""Probes: is it written in the residual stream, in a form that one matrix (or two) can read?

A linear probe is a multinomial logistic regression a square, fitted on all squares and all stages at once:
the same residual streams serve 64 questions, and the stages are one batched matrix product. An MLP probe has
one hidden layer between, and so can compute what it finds rather than read it.

The controls: `baselines.MajorityBaseline` looks at no network, `shuffled` labels have nothing to do with the
streams.

See Also:
    Chapter 5, :doc:`/notebooks/05_linear_probes`.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from . import checks
from .errors import OthelloEduError

N_CLASSES = 3  # empty, mine, theirs
MIN_STEPS = 100  # of the optimiser, however few the rows


class _Probe:
    """What probes have in common: reading streams in pieces, and being scored."""

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    weight: torch.Tensor  # this and the bias are there once the probe is fitted
    bias: torch.Tensor

    @torch.no_grad()
    def predict(self, streams: torch.Tensor | np.ndarray) -> np.ndarray:
        """The likeliest class of every square.

        Args:
            streams: real [n_stages, …, d_model], as a tensor or a NumPy array.

        Returns:
            int8 [n_stages, …, n_squares], 0 empty, 1 mine, 2 theirs.

        Raises:
            OthelloEduError: for another shape, for numbers that are not finite, and before `fit`.
        """
        streams = self._check(streams)
        predicted, looks_finite = self._predicted(streams)
        if not looks_finite:
            checks.finite("streams", streams)
        return predicted

    @torch.no_grad()
    def _predicted(self, streams):
        """The likeliest classes, and whether the streams are finite as far as the logits tell."""
        rows = streams.reshape(len(streams), -1, streams.shape[-1])
        # In pieces: the logits of all rows at once would outweigh the streams themselves.
        pieces, looks_finite = [], True
        for piece in rows.split(4096, dim=1):
            logits = self.logits(piece)
            # A number that is not finite spreads to all logits of its row: those of one square show it.
            looks_finite = looks_finite and checks.is_finite(logits[:, :, 0])
            pieces.append(logits.argmax(-1).to(torch.int8))
        return torch.cat(pieces, 1).reshape(*streams.shape[:-1], -1).numpy(), looks_finite

    def score(self, streams: torch.Tensor | np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Share of unmasked squares read correctly.

        Args:
            streams: real [n_stages, …, d_model], as a tensor or a NumPy array.
            labels: int […, n_squares] in 0..2, -1 for masked.

        Returns:
            float64 [n_stages]; NaN where every label is masked.

        Raises:
            OthelloEduError: where shapes do not fit, for streams that are not finite, and before `fit`.
        """
        x, y = _rows(self._check(streams), labels)
        predicted, looks_finite = self._predicted(x)
        if not looks_finite:
            _finite_where_labelled(x, (y >= 0).any(-1))
        return accuracy(predicted.reshape(len(x), 1, *y.shape), y[None].numpy())

    def _batches(self, n_rows: int, adam: torch.optim.Optimizer) -> Iterator[torch.Tensor]:
        """Rows of each step, in random order; after each the optimiser steps, its rate falling to zero."""
        steps_per_epoch = -(-n_rows // self.batch_size)
        epochs = max(self.epochs, -(-MIN_STEPS // steps_per_epoch))
        schedule = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.0, epochs * steps_per_epoch)
        order = torch.Generator().manual_seed(self.seed)
        for _ in range(epochs):
            for rows in torch.randperm(n_rows, generator=order).split(self.batch_size):
                yield rows
                adam.step()
                schedule.step()

    def _check_settings(self, with_bias=True, hidden=1):
        self.epochs = checks.integer("epochs", self.epochs, 1)
        self.batch_size = checks.integer("batch_size", self.batch_size, 1)
        checks.integer("hidden", hidden, 1)
        checks.number("learning_rate", self.learning_rate, above=0)
        self.seed = checks.seed("seed", self.seed)
        checks.kind_of("with_bias", with_bias, (bool, np.bool_), "True or False")

    def _check(self, streams: torch.Tensor | np.ndarray) -> torch.Tensor:
        if not hasattr(self, "weight"):
            raise OthelloEduError("this probe is not fitted: call fit first")
        streams = checks.reals("streams", streams, "…", "n_stages", "d_model")
        n_stages, d_model = len(self.weight), self.weight.shape[-1]
        if streams.shape[0] != n_stages or streams.shape[-1] != d_model:
            raise OthelloEduError(
                f"streams have shape {tuple(streams.shape)}; "
                f"this probe was fitted on [{n_stages}, …, {d_model}]"
            )
        return streams


class LinearProbe(_Probe):
    """Softmax regression from residual streams to the contents of every square.

    After `fit`: `weight` float32 [n_stages, n_squares, 3, d_model] and `bias` [n_stages, n_squares, 3], in
    the units of the residual stream, so that `weight @ residual + bias` are the class logits.

    The streams are whitened before the descent (and the whitening folded back into the weights): all
    directions then have the same scale, and a few passes of Adam reach what a full solver reaches.

    Args:
        epochs: passes over the rows (more where rows are few, so that there are at least 100 steps).
        batch_size: rows a step.
        learning_rate: of Adam, falling linearly to zero.
        seed: of the order of the rows.
        with_bias: False keeps the bias at 0, as the paper's probe has it.

    Raises:
        OthelloEduError: for a setting that is out of its range.

    References:
        Alain and Bengio (2016); Nanda et al. (2023).

    Example:
        Streams of two stages; the second says in its first number what one square holds.

        >>> labels = np.arange(300).reshape(300, 1) % 3
        >>> streams = np.random.default_rng(0).normal(size=(2, 300, 4))
        >>> streams[1, :, 0] = 10 * labels[:, 0]
        >>> probe = LinearProbe().fit(streams, labels)
        >>> probe.score(streams, labels).round(1)[1]
        np.float64(1.0)

    See Also:
        Chapter 5, :doc:`/notebooks/05_linear_probes`.
    """

    def __init__(
        self,
        epochs: int = 6,
        batch_size: int = 256,
        learning_rate: float = 0.02,
        seed: int = 0,
        with_bias: bool = True,
    ):
        self.epochs, self.batch_size, self.learning_rate, self.seed = epochs, batch_size, learning_rate, seed
        self.with_bias = with_bias
        self._check_settings(with_bias=with_bias)

    @classmethod
    def from_weights(cls, weight: torch.Tensor, bias: torch.Tensor) -> "LinearProbe":
        """A probe that is known already, such as one from a file, as if it had been fitted.

        Args:
            weight: real [n_stages, n_squares, 3, d_model].
            bias: real [n_stages, n_squares, 3].

        Raises:
            OthelloEduError: for other shapes, and for numbers that are not finite.
        """
        weight = checks.reals("weight", weight, "n_stages", "n_squares", N_CLASSES, "d_model")
        bias = checks.reals("bias", bias, *weight.shape[:3])
        if weight.numel() == 0:
            raise OthelloEduError(f"weight has shape {list(weight.shape)}: there is nothing to read with")
        probe = cls()
        probe.weight = checks.finite("weight", weight.float()).contiguous()
        probe.bias = checks.finite("bias", bias.float()).contiguous()
        return probe

    @torch.no_grad()
    def fit(self, streams: torch.Tensor | np.ndarray, labels: np.ndarray) -> "LinearProbe":
        """Learn to read these labels from these streams. Rows that are masked throughout are left out.

        Args:
            streams: real [n_stages, …, d_model], as a tensor or a NumPy array.
            labels: int […, n_squares] in 0..2, -1 for masked.

        Returns:
            The probe itself.

        Raises:
            OthelloEduError: where shapes do not fit, for labels that are no integers, for streams that are
                not finite, and where every row is masked.
        """
        x, y = labelled_rows(streams, labels)
        n_stages, n_rows, d_model = x.shape
        mean, whiten = _whiten(x, centred=self.with_bias)
        n_squares = y.shape[1]
        parameters = [
            torch.zeros(n_stages, d_model, N_CLASSES * n_squares),
            torch.zeros(n_stages, 1, N_CLASSES * n_squares),
        ]
        adam = torch.optim.Adam(parameters, lr=self.learning_rate, betas=(0.9, 0.99), fused=True)
        for rows in self._batches(n_rows, adam):
            inputs, targets = x[:, rows], y[rows, None]
            logits = torch.baddbmm(parameters[1], inputs, parameters[0])
            # The gradient of cross-entropy, by hand: probabilities minus the truth. The squares come
            # last: a softmax over a last axis of three is 15 times slower.
            error = logits.view(n_stages, len(rows), N_CLASSES, n_squares).softmax(-2)
            error.sub_((targets == torch.arange(N_CLASSES)[:, None]).float())
            error.mul_((targets >= 0) / len(rows))
            error = error.view(n_stages, len(rows), -1)
            parameters[0].grad = inputs.mT @ error
            parameters[1].grad = error.sum(1, keepdim=True) * self.with_bias
        weight, bias = whiten @ parameters[0], parameters[1]
        bias = bias - mean @ weight
        self.weight = weight.mT.reshape(n_stages, N_CLASSES, n_squares, d_model).transpose(1, 2).contiguous()
        self.bias = bias.reshape(n_stages, N_CLASSES, n_squares).mT.contiguous()
        return self

    @torch.no_grad()
    def logits(self, streams: torch.Tensor | np.ndarray) -> torch.Tensor:
        """Logits of the three classes of every square.

        Args:
            streams: real [n_stages, …, d_model], as a tensor or a NumPy array.

        Returns:
            float32 [n_stages, …, n_squares, 3].

        Raises:
            OthelloEduError: for another shape, and before `fit`.
        """
        streams = self._check(streams)
        n_stages, n_squares, _, d_model = self.weight.shape
        x = streams.reshape(n_stages, -1, d_model).float()
        logits = torch.baddbmm(self.bias.view(n_stages, 1, -1), x, self.weight.view(n_stages, -1, d_model).mT)
        return logits.view(*streams.shape[:-1], n_squares, N_CLASSES)


class MLPProbe(_Probe):
    """One hidden layer of ReLUs, shared by the squares, between the stream and the contents of every square.

    It finds what a linear probe finds and more; what it alone finds it may have computed itself.

    After `fit`: `weight` float32 [n_stages, hidden, d_model] and `bias` [n_stages, hidden] of the layer,
    `out` [n_stages, 3 · n_squares, hidden] and `out_bias` [n_stages, 3 · n_squares] of the classes, in the
    units of the stream.

    It needs many units, passes and games before its score says anything: fitted too briefly it reads less
    than a linear probe, and on few games it learns those by heart. Chapter 5 shows both.

    Args:
        hidden: units of the layer.
        epochs: passes over the rows, as of `LinearProbe`.
        batch_size: as of `LinearProbe`.
        learning_rate: as of `LinearProbe`.
        seed: of the order of the rows, and of the first weights.

    Raises:
        OthelloEduError: for a setting that is out of its range.

    References:
        Li et al. (2023), appendix.

    See Also:
        Chapter 5, :doc:`/notebooks/05_linear_probes`.
    """

    def __init__(
        self,
        hidden: int = 1024,
        epochs: int = 8,
        batch_size: int = 256,
        learning_rate: float = 0.003,
        seed: int = 0,
    ):
        self.hidden, self.epochs, self.batch_size = hidden, epochs, batch_size
        self.learning_rate, self.seed = learning_rate, seed
        self._check_settings(hidden=hidden)

    def fit(self, streams: torch.Tensor | np.ndarray, labels: np.ndarray) -> "MLPProbe":
        """Learn to read these labels from these streams. Rows that are masked throughout are left out.

        Args:
            streams: real [n_stages, …, d_model], as a tensor or a NumPy array.
            labels: int […, n_squares] in 0..2, -1 for masked.

        Returns:
            The probe itself.

        Raises:
            OthelloEduError: as `LinearProbe.fit`.
        """
        x, y = labelled_rows(streams, labels)
        with torch.no_grad():
            mean, whiten = _whiten(x)
        n_stages, n_rows, d_model = x.shape
        n_squares = y.shape[1]
        random = torch.Generator().manual_seed(self.seed)

        def start(inputs, outputs):
            weight = torch.randn(inputs, outputs, generator=random) * (2 / inputs) ** 0.5
            return [weight.repeat(n_stages, 1, 1), torch.zeros(n_stages, 1, outputs)]

        parameters = start(d_model, self.hidden) + start(self.hidden, N_CLASSES * n_squares)
        for parameter in parameters:
            parameter.requires_grad_()
        adam = torch.optim.Adam(parameters, lr=self.learning_rate, fused=True)
        for rows in self._batches(n_rows, adam):
            hidden = torch.baddbmm(parameters[1], x[:, rows], parameters[0]).relu()
            logits = torch.baddbmm(parameters[3], hidden, parameters[2])
            log_p = logits.view(n_stages, len(rows), N_CLASSES, n_squares).log_softmax(-2)
            is_true = y[rows, None] == torch.arange(N_CLASSES)[:, None]  # nowhere, where masked
            adam.zero_grad()
            (-(log_p * is_true).sum() / len(rows)).backward()
        weight, bias, out, out_bias = (parameter.detach() for parameter in parameters)
        self.weight = (whiten @ weight).mT.contiguous()
        self.bias = (bias - mean @ self.weight.mT)[:, 0]
        self.out, self.out_bias = out.mT.contiguous(), out_bias[:, 0]
        return self

    @torch.no_grad()
    def logits(self, streams: torch.Tensor | np.ndarray) -> torch.Tensor:
        """Logits of the three classes of every square.

        Args:
            streams: real [n_stages, …, d_model], as a tensor or a NumPy array.

        Returns:
            float32 [n_stages, …, n_squares, 3].

        Raises:
            OthelloEduError: for another shape, and before `fit`.
        """
        streams = self._check(streams)
        x = streams.reshape(len(streams), -1, streams.shape[-1]).float()
        hidden = torch.baddbmm(self.bias[:, None], x, self.weight.mT)
        hidden = hidden.relu() + 0 * hidden  # a unit that is off must not hide that its stream is not finite
        logits = torch.baddbmm(self.out_bias[:, None], hidden, self.out.mT)
        return logits.view(*streams.shape[:-1], N_CLASSES, -1).mT


def shuffled(labels: np.ndarray, seed: int) -> np.ndarray:
    """Labels that have nothing to do with the streams: at each ply, those of the games, dealt out anew.

    Whole boards move, among games that have one at this ply. A probe fitted on them can only learn what is
    common at a ply. Judged on true labels of other games, its score is therefore what a probe gets without
    reading anything; judged on the shuffled labels that it was fitted on, it shows how much such a probe can
    learn by heart.

    Args:
        labels: int [n_games, time, n_squares], -1 for masked.
        seed: of the dealing.

    Returns:
        A new array of the same shape and dtype.

    Raises:
        OthelloEduError: for labels of another shape, or others than 0, 1, 2 and -1.

    References:
        Hewitt and Liang (2019).

    Example:
        >>> labels = np.array([[[0]], [[1]], [[2]], [[-1]]])  # four games, one ply, one square
        >>> np.sort(shuffled(labels, seed=0)[:3].ravel()), shuffled(labels, seed=0)[3]
        (array([0, 1, 2]), array([[-1]]))

    See Also:
        Chapter 5, :doc:`/notebooks/05_linear_probes`.
    """
    labels = checked_labels(labels, "n_games", "time", "n_squares")
    random, mixed = np.random.default_rng(checks.seed("seed", seed)), labels.copy()
    for ply in range(labels.shape[1]):
        unmasked = np.flatnonzero((labels[:, ply] >= 0).any(-1))
        mixed[unmasked, ply] = labels[random.permutation(unmasked), ply]
    return mixed


def accuracy(predicted: np.ndarray, labels: np.ndarray, by: str | None = None) -> np.ndarray:
    """Share of unmasked labels that are predicted.

    Args:
        predicted: int [..., n_games, time, n_squares].
        labels: int [n_games, time, n_squares] with -1 masked.
        by: None for one number per leading axis; "square", "ply", or "game" (what a bootstrap over games
            needs) for one number for each of them.

    Returns:
        float64 [...], or for `by` [..., n_squares], [..., time] or [..., n_games]. NaN where everything is
        masked.

    Raises:
        OthelloEduError: where shapes do not fit, for what are no integers, and for another `by`.

    Example:
        >>> labels = np.array([[[0, 1], [2, -1]]])  # one game, two plies, two squares
        >>> accuracy(np.array([[[0, 1], [0, 0]]]), labels, by="ply")
        array([1., 0.])

    See Also:
        Chapter 5, :doc:`/notebooks/05_linear_probes`.
    """
    axes = {None: (-3, -2, -1), "square": (-3, -2), "ply": (-3, -1), "game": (-2, -1)}
    if not isinstance(by, (str, type(None))) or by not in axes:
        raise OthelloEduError(f"by is {by!r}; it must be None, 'square', 'ply' or 'game'")
    predicted, labels = checks.integers("predicted", predicted), checks.integers("labels", labels, low=-1)
    if predicted.shape[-labels.ndim :] != labels.shape or labels.ndim != 3:
        raise OthelloEduError(
            f"predicted has shape {predicted.shape} and labels {labels.shape}; labels must be "
            "[n_games, time, n_squares], and predicted must end in the same"
        )
    counted = labels >= 0
    with np.errstate(invalid="ignore"):
        return ((predicted == labels) & counted).sum(axes[by]) / counted.sum(axes[by])


def balanced_accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """The mean over classes of the share of its squares that are read as it: rare classes count as much.

    Args:
        predicted: int […, n_squares].
        labels: int of the same shape, -1 for masked.

    Returns:
        The mean, from 0 to 1, over the classes that labels hold.

    Raises:
        OthelloEduError: where shapes do not fit, for what are no integers, and where all labels are masked.

    Example:
        >>> balanced_accuracy(np.array([0, 0, 0, 0]), np.array([0, 0, 0, 1]))
        0.5

    See Also:
        Chapter 10, :doc:`/notebooks/10_auditing_a_claim`.
    """
    labels = checks.integers("labels", labels, "…", "n_squares", low=-1)
    right = checks.integers("predicted", predicted, *labels.shape) == labels
    if not (labels >= 0).any():
        raise OthelloEduError("all labels are masked: there is nothing to be right about")
    return float(np.mean([right[labels == kind].mean() for kind in np.unique(labels[labels >= 0])]))


def labelled_rows(
    streams: torch.Tensor | np.ndarray, labels: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows that have a label for some square: a copy, so that the caller's streams stay as they are.

    Args:
        streams: real [n_stages, …, d_model], as for `LinearProbe.fit`.
        labels: int […, n_squares] in 0..2, -1 for masked.

    Returns:
        Streams, float32 [n_stages, n, d_model], and labels, int64 [n, n_squares].

    Raises:
        OthelloEduError: where shapes do not fit, every row is masked, or streams are not finite in a row that
            has a label.
    """
    x, y = _rows(checks.reals("streams", streams, "…", "n_stages", "d_model"), labels)
    used = (y >= 0).any(-1)
    if not used.any():
        raise OthelloEduError("every row of the labels is masked: there is nothing to fit")
    _finite_where_labelled(x, used)
    return x[:, used].float(), y[used]


def _finite_where_labelled(x, used):
    """Refuse streams [n_stages, n, d_model] that are not finite in rows that are used, bool [n]."""
    if checks.is_finite(x):
        return
    for stage, rows in enumerate(x):
        bad = (~torch.isfinite(rows)).any(-1) & used
        if bad.any():
            row = int(bad.nonzero()[0])
            raise OthelloEduError(
                f"the streams of stage {stage} are not finite in {int(bad.sum())} rows that have a label, "
                f"the first of them row {row} of {len(bad)}: mask these rows with labels of -1, or look for "
                "what made them"
            )


def checked_labels(labels: npt.ArrayLike, *axes: int | str) -> np.ndarray:
    """Contents of squares as an array, if that is what they are.

    Args:
        labels: int, 0 to 2, or -1 for masked.
        *axes: the shape, as in `checks.shape`; any where none are given.

    Raises:
        OthelloEduError: for another shape, for what are no integers, and for other integers.
    """
    labels = checks.integers("labels", labels, *axes)
    if labels.size and not -1 <= labels.min() <= labels.max() < N_CLASSES:
        raise OthelloEduError(f"labels must be 0, 1, 2 or -1 (masked), not {labels.min()}..{labels.max()}")
    return labels


def _rows(streams, labels):
    """Flatten the leading axes: [n_stages, n, d_model] and [n, n_squares]."""
    if len(streams) == 0:
        raise OthelloEduError("streams hold no stage: there is nothing to read")
    labels = torch.as_tensor(np.ascontiguousarray(checked_labels(labels, "…", "n_squares"))).long()
    if streams.shape[1:-1] != labels.shape[:-1]:
        raise OthelloEduError(
            f"streams {tuple(streams.shape)} and labels {tuple(labels.shape)} do not describe the same rows: "
            "the model reads all moves but the last possible one, so cut the labels to the same plies, "
            "e.g. labels[:, :-1]"
        )
    return streams.reshape(streams.shape[0], -1, streams.shape[-1]), labels.reshape(-1, labels.shape[-1])


def _whiten(x, centred=True):
    """Give x mean 0 and covariance 1 in place, one stage at a time: streams fill much of the memory.

    Not centred, the mean stays, and the second moment becomes 1. Returns the mean [n_stages, 1, d] that was
    taken away and the matrix [n_stages, d, d] with which the rest was done.
    """
    mean = x.mean(1, keepdim=True) if centred else torch.zeros_like(x[:, :1])
    x -= mean
    covariance = torch.stack([stage.T @ stage for stage in x]) / x.shape[1]
    values, vectors = torch.linalg.eigh(covariance.double())
    # Directions that hardly vary carry nothing but rounding: they are not blown up to unit size.
    floor = values[:, -1:] * 1e-6 + 1e-12
    matrix = (vectors * values.clamp(min=floor).rsqrt()[:, None]).float()
    for stage, whiten in zip(x, matrix, strict=True):
        stage.copy_(stage @ whiten)
    return mean, matrix
