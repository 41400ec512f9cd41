"""Is an argument what it must be? Asked in one place, so that every refusal names the argument and its value.

Each function returns the argument in the form that computing needs, unchanged where it has that form already,
or raises OthelloEduError. Looking at a whole array costs one pass over it, and says where it is bad.
"""

import math
import operator
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from .errors import OthelloEduError

LARGE = 2**28  # bytes; what takes less is not worth asking the system about

_Value = TypeVar("_Value")
_Arrays = npt.ArrayLike | torch.Tensor


def shown(value: object) -> str:
    """A value as messages show it: short, and of an array what it is instead of what it holds.

    Args:
        value: whatever was given.

    Example:
        >>> shown(3.5), shown(np.zeros((2, 3)))
        ('3.5', 'an array of float64 with shape [2, 3]')
    """
    if isinstance(value, np.ndarray) or torch.is_tensor(value):
        return f"an array of {value.dtype} with shape {list(value.shape)}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def kind_of(name: str, value: _Value, kind: type | tuple[type, ...], hint: str) -> _Value:
    """The value, if it is an instance of this class.

    Args:
        name: of the argument, as messages show it.
        value: whatever was given.
        kind: the class, or several of which one will do.
        hint: what to give instead.

    Raises:
        OthelloEduError: if it is none.
    """
    if not isinstance(value, kind):
        raise OthelloEduError(f"{name} is {shown(value)}; it must be {hint}")
    return value


# Numbers ---------------------------------------------------------------------------------------------


def integer(name: str, value: Any, low: int | None = None, high: int | None = None) -> int:
    """An integer from low to high, both included. Neither 1.0 nor True is one.

    Args:
        name: of the argument, as messages show it.
        value: whatever was given.
        low: the least that is allowed; None for any.
        high: the most; None for any.

    Raises:
        OthelloEduError: if it is none, or lies outside.

    Example:
        >>> integer("n_games", 3, low=0)
        3
        >>> integer("n_games", -3, low=0)
        Traceback (most recent call last):
        ...
        othello_edu.errors.OthelloEduError: n_games is -3; it must not be negative
    """
    try:
        number = None if _is_bool(value) else operator.index(value)
    except (TypeError, ValueError):
        number = None
    if number is None:
        raise OthelloEduError(f"{name} is {shown(value)}; it must be an integer")
    if (low is not None and number < low) or (high is not None and number > high):
        raise OthelloEduError(f"{name} is {shown(number)}; it must {_range(low, high)}")
    return number


def seed(name: str, value: Any, high: int = 2**63 - 1) -> int:
    """A seed: an integer that is not negative and that every generator takes.

    Args:
        name: of the argument, as messages show it.
        value: whatever was given.
        high: the largest seed that the generator takes.

    Raises:
        OthelloEduError: if it is none.
    """
    return integer(name, value, 0, high)


def number(
    name: str,
    value: Any,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> float:
    """A finite real number: at least low, at most high, greater than above, less than below.

    Args:
        name: of the argument, as messages show it.
        value: whatever was given; a number in the form of an array of no axes is taken out of it.
        low: the least that is allowed.
        high: the most.
        above: what it must exceed.
        below: what it must not reach.

    Raises:
        OthelloEduError: if it is none, or lies outside.
    """
    if getattr(value, "ndim", None) == 0:  # a number in the form of an array
        value = value.item()
    if _is_bool(value) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise OthelloEduError(f"{name} is {shown(value)}; it must be a number")
    if not math.isfinite(value):
        raise OthelloEduError(f"{name} is {value}; it must be finite")
    limits: list[tuple[float | None, str, Callable[[Any, Any], bool]]] = [
        (low, "at least", operator.ge),
        (above, "above", operator.gt),
        (high, "at most", operator.le),
        (below, "below", operator.lt),
    ]
    limits = [(limit, words, holds) for limit, words, holds in limits if limit is not None]
    if not all(holds(value, limit) for limit, _, holds in limits):
        wanted = ", and ".join(f"{words} {limit}" for limit, words, _ in limits)
        raise OthelloEduError(f"{name} is {shown(value)}; it must be {wanted}")
    return value  # type: ignore[return-value]  # a number of NumPy's stays one


def _is_bool(value: object) -> bool:
    return isinstance(value, (bool, np.bool_)) or getattr(value, "dtype", None) in (torch.bool, np.bool_)


def _range(low: int | None, high: int | None) -> str:
    if low is not None and high is not None:
        return f"lie in {low}..{high}"
    if low == 0:
        return "not be negative"
    return f"be at least {low}" if high is None else f"be at most {high}"


# Arrays ----------------------------------------------------------------------------------------------


def array(name: str, values: _Arrays) -> np.ndarray:
    """NumPy's form of a list, an array or a tensor; the memory is shared where it can be.

    Args:
        name: of the argument, as messages show it.
        values: any shape and type; bfloat16, which NumPy does not have, becomes float32.

    Raises:
        OthelloEduError: where NumPy makes no array of them.
    """
    if torch.is_tensor(values):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        raise OthelloEduError(f"{name} is {shown(values)}; it must be an array: {error}") from None


def shape(name: str, values: _Value, *axes: int | str) -> _Value:
    """The array, if it has these axes.

    Args:
        name: of the argument, as messages show it.
        values: an array or a tensor.
        *axes: each is a length, a word for any length, or, first, "…" for any number of axes.

    Raises:
        OthelloEduError: for another shape, and for what has none.

    Example:
        >>> shape("boards", np.zeros((5, 60, 64)), "…", 64).shape
        (5, 60, 64)
    """
    must = ", ".join(map(str, axes))
    if not hasattr(values, "shape"):
        raise OthelloEduError(f"{name} are {shown(values)}; they must be an array [{must}]")
    actual: tuple[int, ...] = tuple(values.shape)
    wanted = axes
    if axes and axes[0] == "…":
        wanted = axes[1:]
        actual = actual[max(0, len(actual) - len(wanted)) :]
    if len(actual) != len(wanted) or any(
        isinstance(axis, int) and axis != length for axis, length in zip(wanted, actual, strict=True)
    ):
        raise OthelloEduError(f"{name} have shape {list(values.shape)}; they must be [{must}]")
    return values


def integers(
    name: str, values: _Arrays, *axes: int | str, low: int | None = None, high: int | None = None
) -> np.ndarray:
    """Integers of a shape from low to high, both included.

    Args:
        name: of the argument, as messages show it.
        values: a list, an array or a tensor.
        *axes: as in `shape`; any shape, where none are given.
        low: the least that is allowed; None for any.
        high: the most; None for any.

    Raises:
        OthelloEduError: for another type or shape, and for numbers that lie outside.
    """
    values = array(name, values)
    if values.size == 0 and values.dtype == np.float64:  # what NumPy makes of an empty list
        values = values.astype(np.int64)
    if values.dtype.kind not in "iu":
        raise OthelloEduError(f"{name} are {values.dtype}; they must be integers")
    if axes:
        shape(name, values, *axes)
    if low == 0 and high is not None and values.dtype.kind == "i" and values.size:
        # Without its sign, a negative number is a large one: one pass instead of two.
        if values.view(values.dtype.str.replace("i", "u")).max() <= high:
            return values
    if values.size and (low is not None or high is not None):
        least, most = int(values.min()), int(values.max())
        if (low is not None and least < low) or (high is not None and most > high):
            bad = least if low is not None and least < low else most
            raise OthelloEduError(f"{name} hold {bad}; they must {_range(low, high)}")
    return values


def places(name: str, values: _Arrays | None, n: int) -> list[int]:
    """Some of the integers 0 … n - 1, or all of them for None; the caller says what else they must be.

    Args:
        name: of the argument, as messages show it.
        values: a list or another iterable of integers, or None.
        n: how many there are in all.

    Raises:
        OthelloEduError: for what is no list of integers.
    """
    if values is None:
        return list(range(n))
    return integers(name, kind_of(name, values, Iterable, "a list of integers"), "n").tolist()


def flags(name: str, values: _Arrays, *axes: int | str, hint: str) -> np.ndarray:
    """True or False of a shape.

    Args:
        name: of the argument, as messages show it.
        values: bool; integers are refused.
        *axes: as in `shape`; any shape, where none are given.
        hint: shows how to make them.

    Raises:
        OthelloEduError: for another type or shape.
    """
    values = array(name, values)
    if values.dtype != np.bool_:
        raise OthelloEduError(f"{name} are {values.dtype}; they must be bool, as in {hint}")
    return shape(name, values, *axes) if axes else values


def reals(name: str, values: _Arrays, *axes: int | str) -> torch.Tensor:
    """Real numbers of a shape as a tensor: a tensor as it is, a NumPy array with its memory shared.

    Args:
        name: of the argument, as messages show it.
        values: a list, an array or a tensor, of integers or real numbers.
        *axes: as in `shape`; any shape, where none are given.

    Raises:
        OthelloEduError: for another type or shape.
    """
    if not torch.is_tensor(values):
        values = array(name, values)
        if values.dtype.kind not in "fiu" or values.dtype.itemsize > 8:
            raise OthelloEduError(f"{name} are {values.dtype}; they must be real numbers")
        # torch takes neither arrays that run backwards nor, without a warning, those that are read-only.
        if any(step < 0 for step in values.strides) or not values.flags.writeable:
            values = values.copy()
        values = torch.from_numpy(values)
    if values.dtype.is_complex or values.dtype == torch.bool:
        raise OthelloEduError(f"{name} are {values.dtype}; they must be real numbers")
    return shape(name, values, *axes) if axes else values


def finite(name: str, values: torch.Tensor) -> torch.Tensor:
    """The tensor, if it holds no NaN and no infinity.

    Args:
        name: of the argument, as messages show it.
        values: any shape.

    Raises:
        OthelloEduError: says where the first such number is.
    """
    if is_finite(values):
        return values
    at = (~torch.isfinite(values)).nonzero()[0].tolist()
    raise OthelloEduError(
        f"{name}{at} is {values[tuple(at)].item()}: all must be finite numbers; "
        "leave such rows out, or look for what made them"
    )


def is_finite(values: torch.Tensor) -> bool:
    """Whether a tensor, `values`, holds no NaN and no infinity."""
    if not values.dtype.is_floating_point or values.numel() == 0:
        return True
    # A sum of squares is one pass, the fastest that there is, and needs no memory. Where it is not finite,
    # the numbers may be no more than large: look closer.
    values = values.detach()
    if values.is_contiguous() and values.dtype in (torch.float32, torch.float64):
        total = torch.dot(values.view(-1), values.view(-1))
    else:
        total = values.sum()
    return math.isfinite(total.item()) or bool(torch.isfinite(values).all())


# Memory ----------------------------------------------------------------------------------------------


def memory(what: str, n_bytes: int, hint: str = "ask for fewer at a time") -> None:
    """Refuse what cannot fit into the memory that is there, before it starts.

    Args:
        what: what needs the memory, for the message.
        n_bytes: how much it needs; less than `LARGE` is not worth asking the system about.
        hint: what to do instead.

    Raises:
        OthelloEduError: if less is available.
    """
    if n_bytes < LARGE:
        return
    available = available_memory()
    if available is not None and n_bytes > available:
        need, left = (f"{size / 2**30:,.1f} GiB" for size in (n_bytes, available))
        raise OthelloEduError(f"{what} need {need} of memory, and {left} are available: {hint}")


def available_memory() -> int | None:
    """Bytes that this process can still get, as far as the system says; None where it does not.

    The least of what the machine has, what the container may use, and what the process may address.
    """
    limits = [_of_machine(), _of_container(), _of_process()]
    return min((limit for limit in limits if limit is not None), default=None)


def _of_machine():
    # Linux tells what could be freed for us; elsewhere we know only how much there is in all.
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has none
        return None


def _of_container():
    groups, memory = "/sys/fs/cgroup", "/sys/fs/cgroup/memory/memory"
    for limit, used, stat in (  # control groups of version 2 and of version 1
        (f"{groups}/memory.max", f"{groups}/memory.current", f"{groups}/memory.stat"),
        (f"{memory}.limit_in_bytes", f"{memory}.usage_in_bytes", f"{memory}.stat"),
    ):
        try:
            (limit,), (used,) = _lines(limit), _lines(used)
            cached = dict(line.split() for line in _lines(stat)).get("inactive_file", 0)
            return max(0, int(limit) - int(used) + int(cached))
        except ValueError:  # no such file, or "max": no limit
            continue
    return None


def _of_process():
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit == resource.RLIM_INFINITY:
            return None
        (line,) = _lines("/proc/self/statm")
        return max(0, limit - int(line.split()[0]) * os.sysconf("SC_PAGE_SIZE"))
    except (ImportError, ValueError):
        return None


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
