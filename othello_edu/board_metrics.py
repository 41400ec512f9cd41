"""Do features hold the board? Coverage, reconstruction, bits, and probes that may look at k features only.

A *property* is one fact about the board: this square holds my disc, or theirs. There are two a square, 128 in
all; "empty" is the absence of both. (Karvonen et al., 2024, also divide by the 64 empty ones, which count as
zero: multiply their coverage by 1.5 to compare.)

See Also:
    Chapter 7, :doc:`/notebooks/07_sparse_autoencoders`.
"""

import numpy as np
import numpy.typing as npt
import torch

from . import checks
from .errors import OthelloEduError
from .labels import MINE, THEIRS
from .probes import N_CLASSES, checked_labels

THRESHOLDS = tuple(k / 10 for k in range(10))  # shares of a feature's largest activation
HIGH_PRECISION = 0.95
_MIN_ACTIVE = 10  # rows on which a feature must be active before its precision means anything
_ROWS = 1 << 14


def properties(labels: npt.ArrayLike) -> np.ndarray:
    """Contents as facts: mine on each square, then theirs.

    Args:
        labels: int [..., n_squares], contents in 0..2, or −1 for masked, which is neither.

    Returns:
        bool [..., 2 · n_squares].

    Example:
        >>> properties([[0, 1, 2]]).astype(int).tolist()  # empty, mine, theirs
        [[0, 1, 0, 0, 0, 1]]
    """
    labels = checked_labels(labels, "…", "n_squares")
    return np.concatenate([labels == MINE, labels == THEIRS], axis=-1)


def _counts(feature_acts, truth, cut):
    """Rows on which feature and property are both there [f, p], and the feature alone [f]."""
    both, active = 0.0, 0.0
    for start in range(0, len(feature_acts), _ROWS):
        rows = slice(start, start + _ROWS)
        on = (feature_acts[rows] > cut).float()
        both = both + (on.T @ truth[rows]).double()  # exact: a part has fewer than 2**24 rows
        active = active + on.sum(0).double()
    return both, active


def _float_acts(feature_acts: torch.Tensor) -> torch.Tensor:
    """Activations [n, n_features] as finite float32."""
    return checks.finite(
        "feature_acts", checks.reals("feature_acts", feature_acts, "n", "n_features")
    ).float()


def _checked(feature_acts, labels):
    feature_acts, labels = checks.reals("feature_acts", feature_acts), checked_labels(labels)
    if (
        feature_acts.ndim != 2
        or labels.ndim != 2
        or len(feature_acts) != len(labels)
        or not len(feature_acts)
    ):
        raise OthelloEduError(
            f"feature_acts has shape {list(feature_acts.shape)} and labels {list(labels.shape)}; "
            "they must be [n, n_features] and [n, n_squares], of the same rows"
        )
    return _float_acts(feature_acts), torch.from_numpy(properties(labels)).float()


def coverage(
    feature_acts: torch.Tensor,
    labels: np.ndarray,
    new_feature_acts: torch.Tensor | None = None,
    new_labels: np.ndarray | None = None,
) -> float:
    """Mean over properties of the best F1 that one feature and one threshold reach.

    Thresholds are 0, 0.1, …, 0.9 of each feature's largest activation on these rows. Properties that never
    occur are left out.

    Args:
        feature_acts: float [n, n_features], at least 0.
        labels: int [n, n_squares], contents.
        new_feature_acts: float [m, n_features], rows of other games, on which the F1 of the chosen ones is
            taken: the more features there are to choose among, the luckier is the best.
        new_labels: int [m, n_squares], contents of these rows; both, or neither.

    Returns:
        A share, 1 is perfect.

    Raises:
        OthelloEduError: for shapes that do not fit, and numbers that are not finite.

    References:
        Karvonen et al. (2024).

    Example:
        >>> round(coverage(torch.tensor([[0.0], [2.0], [3.0]]), np.array([[0], [1], [1]])), 2)
        1.0

    See Also:
        Chapter 7, :doc:`/notebooks/07_sparse_autoencoders`.
    """
    feature_acts, truth = _checked(feature_acts, labels)
    largest, present = feature_acts.amax(0), truth.sum(0).double()
    best = torch.full((truth.shape[1],), -1.0, dtype=torch.float64)
    feature = torch.zeros(truth.shape[1], dtype=torch.int64)
    cut = torch.zeros(truth.shape[1])
    for threshold in THRESHOLDS:
        both, active = _counts(feature_acts, truth, threshold * largest)
        f1, at = (2 * both / (active[:, None] + present).clamp(min=1)).max(0)
        better = f1 > best
        best, feature = torch.where(better, f1, best), torch.where(better, at, feature)
        cut = torch.where(better, threshold * largest[at], cut)
    if (new_feature_acts is None) != (new_labels is None):
        raise OthelloEduError("new_feature_acts and new_labels go together: give both, or neither")
    if new_feature_acts is not None and new_labels is not None:
        checks.shape(
            "new_feature_acts", checks.reals("new_feature_acts", new_feature_acts), "n", feature_acts.shape[1]
        )
        checks.shape("new_labels", checked_labels(new_labels), "n", truth.shape[1] // 2)
        new_feature_acts, truth = _checked(new_feature_acts, new_labels)
        present, on = truth.sum(0).double(), new_feature_acts[:, feature] > cut
        best = 2 * (on * truth).sum(0).double() / (on.sum(0) + present).clamp(min=1)
    return float(best[present > 0].mean())


class BoardReader:
    """Reads boards off the features that are nearly always right about a property.

    After `fit`: cut [n_features], the activation above which a feature speaks; says bool [n_features,
    n_properties], what it then says.

    References:
        Karvonen et al. (2024).
    """

    def fit(self, feature_acts: torch.Tensor, labels: np.ndarray) -> "BoardReader":
        """Choose features and their threshold. Judge the reader on other games.

        For each threshold the features with a precision of at least 0.95 on these rows; of these readers the
        one that reads the rows best.

        Args:
            feature_acts: float [n, n_features], at least 0.
            labels: int [n, n_squares], contents.

        Returns:
            Itself.

        Raises:
            OthelloEduError: for shapes that do not fit, and numbers that are not finite.
        """
        feature_acts, truth = _checked(feature_acts, labels)
        largest, best = feature_acts.amax(0), -1.0
        for threshold in THRESHOLDS:
            cut = threshold * largest
            both, active = _counts(feature_acts, truth, cut)
            says = (both >= HIGH_PRECISION * active[:, None]) & (active[:, None] >= _MIN_ACTIVE)
            score = _mean_f1(_said(feature_acts, cut, says), truth)
            if score > best:
                self.cut, self.says, best = cut, says, score
        return self

    def predict(self, feature_acts: torch.Tensor) -> torch.Tensor:
        """Properties that some active feature speaks for.

        Args:
            feature_acts: float [n, n_features].

        Returns:
            bool [n, n_properties].

        Raises:
            OthelloEduError: before `fit`, and for another number of features.
        """
        if not hasattr(self, "cut"):
            raise OthelloEduError("this reader is not fitted: call fit first")
        feature_acts = checks.shape("feature_acts", _float_acts(feature_acts), "n", len(self.cut))
        return _said(feature_acts, self.cut, self.says)

    def score(self, feature_acts: torch.Tensor, labels: np.ndarray) -> float:
        """Mean over boards of F1 between the properties that were read and the true ones.

        Args:
            feature_acts: float [n, n_features].
            labels: int [n, n_squares], contents.

        Returns:
            A share, 1 is perfect.

        Raises:
            OthelloEduError: before `fit`, and for shapes that do not fit.
        """
        feature_acts, truth = _checked(feature_acts, labels)
        return _mean_f1(self.predict(feature_acts), truth)


def _said(feature_acts: torch.Tensor, cut: torch.Tensor, says: torch.Tensor) -> torch.Tensor:
    """What active features say, bool [n, n_properties]."""
    return torch.cat([(part > cut).float() @ says.float() > 0 for part in feature_acts.split(_ROWS)])


def _mean_f1(read: torch.Tensor, truth: torch.Tensor) -> float:
    """Mean over rows of F1 between two sets of properties, [n, n_properties] each."""
    read = read.float()
    return float((2 * (read * truth).sum(1) / (read.sum(1) + truth.sum(1)).clamp(min=1)).mean())


# The length of a description -------------------------------------------------------------------------


def description_bits(feature_acts: torch.Tensor, step: float | torch.Tensor) -> float:
    """How many bits it takes to write a row's activations down.

    L0 counts a feature that is active on every second row like one that is active on every thousandth. Bits
    do not: they are what a code needs that knows how often each feature has which value, and nothing else
    (features are taken one by one, so that what they tell about each other saves nothing). An activation is
    written as the number of steps that it reaches, rounded up; silence is 0. The sum over the features of the
    entropy of that number, in bits.

    Args:
        feature_acts: float [n, n_features], at least one row; what is not above 0 is silent.
        step: the precision of an activation, above 0; a number, or [n_features], one for each. To compare
            dictionaries, give each feature one that moves the stream by the same length.

    Returns:
        Bits a row, at least 0.

    Raises:
        OthelloEduError: for shapes that do not fit, no rows, and numbers that are not finite or not above 0.

    References:
        Ayonrinde et al. (2024).

    Example:
        >>> acts = torch.tensor([[0.0, 3.0], [1.0, 3.0]])  # one is active on every second row, one always
        >>> description_bits(acts, step=1.0)
        1.0

    See Also:
        Chapter 7, :doc:`/notebooks/07_sparse_autoencoders`.
    """
    feature_acts = _float_acts(feature_acts)
    n, n_features = feature_acts.shape
    if n == 0:
        raise OthelloEduError("feature_acts has no rows; at least one is needed")
    if torch.is_tensor(step):
        step = checks.finite("step", checks.shape("step", checks.reals("step", step), n_features))
        if not (step > 0).all():
            raise OthelloEduError("step holds numbers that are not above 0")
    else:
        checks.number("step", step, above=0)
    levels = (feature_acts.clamp(min=0) / step).ceil().numpy()
    bits = 0.0
    for column in levels.T:
        reached = column[column > 0]
        counts = np.append(np.unique(reached, return_counts=True)[1], n - len(reached))
        shares = counts[counts > 0] / n
        bits -= float((shares * np.log2(shares)).sum())
    return bits + 0.0  # no negative zero


# Probes of k features --------------------------------------------------------------------------------


def choose_features(feature_acts: torch.Tensor, labels: np.ndarray, k: int) -> torch.Tensor:
    """The k features that tell the contents of each square apart best.

    Ranked by the share of a feature's variance that lies between the three contents (an F test): the
    three-class form of the difference of means.

    Args:
        feature_acts: float [n, n_features], at least two rows.
        labels: int [n, n_squares], contents in 0..2 without masks.
        k: how many, at least 1; all, where there are fewer.

    Returns:
        int64 [n_squares, k], the best first.

    Raises:
        OthelloEduError: for arguments that are none of this.

    References:
        Gurnee et al. (2023).
    """
    feature_acts, labels = _acts_and_contents(feature_acts, labels)
    k = checks.integer("k", k, 1)
    mean = feature_acts.mean(0)
    spread = (feature_acts - mean).square().sum(0).clamp(min=1e-12)
    between = torch.zeros(labels.shape[1], feature_acts.shape[1])
    for kind in range(N_CLASSES):
        here = (labels == kind).float()  # [n, n_squares]
        count = here.sum(0)[:, None]
        between += count * ((here.T @ feature_acts) / count.clamp(min=1) - mean).square() * (count > 0)
    return (between / spread).topk(min(k, feature_acts.shape[1]), dim=1).indices


def _acts_and_contents(feature_acts, labels):
    """float32 [n, n_features] and int64 [n, n_squares], contents without masks."""
    feature_acts = _float_acts(feature_acts)
    labels = checks.integers("labels", labels, len(feature_acts), "n_squares", low=0, high=N_CLASSES - 1)
    if not labels.size or len(feature_acts) < 2:
        raise OthelloEduError(
            f"feature_acts has {len(feature_acts)} rows; telling contents apart needs at least two"
        )
    return feature_acts, torch.from_numpy(np.ascontiguousarray(labels)).long()


class SparseProbe:
    """A softmax regression a square that may look at k features of its own.

    Solved by Newton's method: a few steps reach the optimum, and nothing needs to be tuned. After `fit`:
    features int64 [n_squares, k], weight float64 [n_squares, k + 1, 3] (the last row is the bias).

    Args:
        k: features of each square, at least 1.
        ridge: price of the square of the weights, above 0; it keeps them finite where contents are separable.
        max_steps: of Newton's method.

    Raises:
        OthelloEduError: for arguments that are none of this.

    References:
        Gurnee et al. (2023).
    """

    def __init__(self, k: int, ridge: float = 1e-3, max_steps: int = 30):
        self.k, self.max_steps = checks.integer("k", k, 1), checks.integer("max_steps", max_steps, 0)
        self.ridge = checks.number("ridge", ridge, above=0)

    def fit(self, feature_acts: torch.Tensor, labels: np.ndarray) -> "SparseProbe":
        """Choose features, and solve each square.

        Args:
            feature_acts: float [n, n_features], at least two rows.
            labels: int [n, n_squares], contents in 0..2 without masks.

        Returns:
            Itself.

        Raises:
            OthelloEduError: for shapes that do not fit, masks, and numbers that are not finite.
        """
        feature_acts, target = _acts_and_contents(feature_acts, labels)
        self.features = choose_features(feature_acts, labels, self.k)
        self.mean, self.scale = feature_acts.mean(0), feature_acts.std(0).clamp(min=1e-6)
        self.weight = torch.stack(
            [
                self._solve(self._inputs(feature_acts, square), target[:, square])
                for square in range(target.shape[1])
            ]
        )
        return self

    def predict(self, feature_acts: torch.Tensor) -> np.ndarray:
        """The likeliest content of every square.

        Args:
            feature_acts: float [n, n_features].

        Returns:
            int8 [n, n_squares].

        Raises:
            OthelloEduError: before `fit`, and for another number of features.
        """
        if not hasattr(self, "weight"):
            raise OthelloEduError("this probe is not fitted: call fit first")
        feature_acts = checks.shape("feature_acts", _float_acts(feature_acts), "n", len(self.mean))
        squares = range(len(self.features))
        columns = [
            (self._inputs(feature_acts, square) @ self.weight[square]).argmax(-1) for square in squares
        ]
        return torch.stack(columns, 1).to(torch.int8).numpy()

    def score(self, feature_acts: torch.Tensor, labels: np.ndarray) -> float:
        """Share of unmasked squares read correctly.

        Args:
            feature_acts: float [n, n_features].
            labels: int [n, n_squares], contents in 0..2, or −1 for masked.

        Returns:
            A share, 1 is perfect.

        Raises:
            OthelloEduError: before `fit`, for shapes that do not fit, and where all labels are masked.
        """
        predicted = self.predict(feature_acts)
        labels = checked_labels(labels, *predicted.shape)
        if not (labels >= 0).any():
            raise OthelloEduError("all labels are masked: there is nothing to be right about")
        return float((predicted == labels)[labels >= 0].mean())

    def _inputs(self, feature_acts, square):
        chosen = self.features[square]
        x = ((feature_acts[:, chosen] - self.mean[chosen]) / self.scale[chosen]).double()
        return torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], 1)

    def _solve(self, x, target):
        """Newton's method with halved steps. The ridge keeps separable squares finite."""
        n, width = x.shape
        one_hot = torch.nn.functional.one_hot(target, N_CLASSES).double()
        weight = torch.zeros(width, N_CLASSES, dtype=torch.float64)

        def objective(weight):
            log_p = (x @ weight).log_softmax(-1)
            return -(log_p * one_hot).sum() / n + self.ridge / 2 * weight.square().sum(), log_p.exp()

        value, p = objective(weight)
        for _ in range(self.max_steps):
            gradient = x.T @ (p - one_hot) / n + self.ridge * weight
            blocks = [
                [(x * (p[:, a] * (float(a == b) - p[:, b]))[:, None]).T @ x / n for b in range(N_CLASSES)]
                for a in range(N_CLASSES)
            ]
            hessian = torch.cat([torch.cat(row, 1) for row in blocks])
            hessian += self.ridge * torch.eye(len(hessian), dtype=torch.float64)
            step = torch.linalg.solve(hessian, gradient.T.reshape(-1)).view(N_CLASSES, width).T
            size = 1.0
            while True:
                new_value, new_p = objective(weight - size * step)
                if new_value <= value or size < 1e-3:
                    break
                size /= 2
            improved = value - new_value
            if improved <= 0:
                break
            weight, value, p = weight - size * step, new_value, new_p
            if improved < 1e-9:
                break
        return weight
