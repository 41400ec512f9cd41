"""Muon for the matrices inside the blocks, AdamW for everything else.

See Also:
    Chapter 4, :doc:`/notebooks/04_training`.
"""

from collections.abc import Iterable

import torch

from .model import GPT


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised, matrix by matrix.

    The same update as `torch.optim.Muon(…, adjust_lr_fn="match_rms_adamw")`, with two differences that
    matter on a laptop: all matrices of one shape go through the Newton-Schulz iteration together, and
    the iteration runs in `dtype` (torch's runs in bfloat16 always, which a processor without bfloat16
    units emulates many times slower than it multiplies float32).

    Args:
        parameters: matrices.
        lr: learning rate, per unit of RMS-matched update.
        weight_decay: share of `lr` by which weights shrink in a step.
        momentum: share of the earlier gradients that is kept.
        dtype: of the iteration.

    References:
        Jordan et al. (2024), Muon: An optimizer for hidden layers in neural networks.
    """

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
        lr: float,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__(parameters, dict(lr=lr, weight_decay=weight_decay, momentum=momentum, dtype=dtype))

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # without torch's closure, which nobody gives
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[torch.Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in by_shape.items():
                for parameter in parameters:
                    if not self.state[parameter]:
                        self.state[parameter]["momentum"] = torch.zeros_like(parameter)
                gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
                momenta = [self.state[parameter]["momentum"] for parameter in parameters]
                torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
                updates = torch._foreach_lerp(gradients, momenta, group["momentum"])  # Nesterov
                moves = orthogonalise(torch.stack(updates), dtype=group["dtype"])
                # An orthogonal matrix has RMS 1 / sqrt(its longer side); 0.2 is AdamW's typical RMS.
                scale = 0.2 * max(shape) ** 0.5 * group["lr"]
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(parameters, list(moves), alpha=-scale)


def orthogonalise(matrices: torch.Tensor, steps: int = 5, dtype: torch.dtype | None = None) -> torch.Tensor:
    """The nearest semi-orthogonal matrices, roughly: singular values all become about 1.

    Newton-Schulz with the quintic coefficients of Jordan et al. (2024).

    Args:
        matrices: float [..., rows, columns].
        steps: of the iteration.
        dtype: in which it is computed (default: that of the matrices).

    Returns:
        float [..., rows, columns], of the type that was given.

    Example:
        >>> torch.linalg.svdvals(orthogonalise(torch.diag(torch.tensor([1.0, 5.0])))).round()
        tensor([1., 1.])
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = (x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)).to(dtype or x.dtype)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(matrices.dtype)


def optimizers(
    model: GPT, learning_rate: float, adamw_learning_rate: float, weight_decay: float, precision: str
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for everything else, with their full rates.

    Args:
        model: whose parameters they move.
        learning_rate: of Muon.
        adamw_learning_rate: of AdamW.
        weight_decay: of Muon; AdamW has none.
        precision: "float32" or "bfloat16", of Muon's iteration.
    """
    matrices = [p for p in model.blocks.parameters() if p.ndim == 2]
    in_blocks = {id(p) for p in matrices}
    elsewhere = [p for p in model.parameters() if id(p) not in in_blocks]
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    return [
        Muon(matrices, lr=learning_rate, weight_decay=weight_decay, dtype=dtype),
        torch.optim.AdamW(elsewhere, lr=adamw_learning_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]
