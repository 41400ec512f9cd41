"""Functions that numba compiles: where the compiled code is kept, and how many threads run it.

numba has threads of its own for loops marked `prange`. They are not used here: they hang a process that was
forked after the first of them, end one whose Python threads use them at the same time, and cannot be
interrupted. Kernels release Python's lock instead, and ordinary threads run them, a piece of the work at a
time.
"""

import os
import pickle
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from glob import escape
from hashlib import sha256
from pathlib import Path
from typing import Any

import numba as nb
import torch
from numba.core.caching import CompileResultCacheImpl, FunctionCache, NullCache
from numba.core.serialize import dumps

# Compiling ------------------------------------------------------------------------------------------


class _Checked(CompileResultCacheImpl):
    """What numba keeps of a compiled function, with a digest: altered machine code would end the process."""

    def reduce(self, compiled):
        payload = dumps(super().reduce(compiled))
        return self._digest(payload), payload

    def rebuild(self, target, kept):
        digest, payload = kept
        if digest != self._digest(payload):
            raise ValueError("its digest does not fit")
        return super().rebuild(target, pickle.loads(payload))

    def _digest(self, payload: bytes) -> bytes:
        # With the source: numba writes the index first, and a run that was killed then leaves old code to it.
        return sha256(repr(self.locator.get_source_stamp()).encode() + payload).digest()


class _Cache(FunctionCache):
    """numba's cache of compiled code, which may be lost, but is never why a kernel does not run."""

    _impl_class = _Checked

    def load_overload(self, signature, target):
        try:
            return super().load_overload(signature, target)
        except Exception as error:  # a file that was cut short or altered makes unpickling raise anything
            _warn_once(f"compiled code in {self.cache_path} is broken ({error!r}); it is compiled again")
            for path in Path(self.cache_path).glob(f"{escape(self._impl.filename_base)}.*"):
                with suppress(OSError):
                    path.unlink()
            return None

    def save_overload(self, signature, compiled):
        try:
            super().save_overload(signature, compiled)
        except Exception as error:
            self.disable()
            _warn_once(f"compiled code cannot be kept in {self.cache_path} ({error}); {_ELSEWHERE}")


_ELSEWHERE = (
    "it is compiled again in each process. The environment variable NUMBA_CACHE_DIR names another folder"
)
_warned = False


def _warn_once(message: str) -> None:
    """Warn, once a process: what is wrong with the cache of one kernel is wrong with that of all."""
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(f"othello_edu: {message}", RuntimeWarning, stacklevel=2)


def _cache_of(function):
    try:
        return _Cache(function)
    except (RuntimeError, OSError):  # numba has tried the package's folder and the user's
        _warn_once(f"there is no folder to keep compiled code in; {_ELSEWHERE}")
        return NullCache()


def kernel(signature: Any = None, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: compile a function with numba, for these types at once, or for those it is called with.

    The compiled code is kept for later processes where there is a place for it. It runs without Python's
    lock.

    Args:
        signature: numba's types of what the function takes and gives; None for those it is called with.
        **options: of `numba.njit`.
    """

    def compiled(function):
        dispatcher = nb.njit(nogil=True, **options)(function)
        dispatcher._cache = _cache_of(function)  # `cache=True` would fail where there is no place
        if signature is not None:
            dispatcher.compile(signature)
            dispatcher.disable_compile()
        return dispatcher

    return compiled


# Running --------------------------------------------------------------------------------------------


def cores() -> int:
    """Processor cores that this process may use."""
    return nb.config.NUMBA_DEFAULT_NUM_THREADS  # type: ignore[attr-defined]  # set when numba is imported


def n_threads() -> int:
    """How many threads share the work: as many as torch uses, and not more than NUMBA_NUM_THREADS.

    `torch.set_num_threads` sets both. The environment variable is the number of cores where it is not set.
    """
    n_of_numba: int = nb.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]  # set when it is imported
    return min(torch.get_num_threads(), n_of_numba)


def in_pieces(work: Callable[[slice], None], n: int, size: int) -> None:
    """Call `work` with slices that together are 0 … n - 1, in several threads.

    Between two pieces Ctrl-C is heard: let one last some milliseconds. After it, as after an error in
    `work`, which is raised here, no other piece begins.

    Args:
        work: fills its part of some arrays, in a kernel.
        n: how much there is to do.
        size: the most that one call does.

    Example:
        >>> squares = [0] * 10
        >>> def work(piece):
        ...     for at in range(10)[piece]:
        ...         squares[at] = at**2
        >>> in_pieces(work, n=10, size=4)
        >>> squares
        [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]
    """
    pieces = iter([slice(start, min(start + size, n)) for start in range(0, n, size)])
    n_others = min(n_threads(), -(-n // size)) - 1
    if n_others < 1:
        for piece in pieces:
            work(piece)
        return

    def take_turns():
        for piece in pieces:
            work(piece)

    # Threads of this call alone: they are not there when the process is forked later on.
    threads = ThreadPoolExecutor(n_others)
    try:
        futures = [threads.submit(take_turns) for _ in range(n_others)]
        take_turns()  # in this thread too, the one that is told of Ctrl-C
        for future in futures:
            future.result()
    finally:
        for _ in pieces:
            pass
        threads.shutdown()


# A forked process has its parent's number of threads but none of the threads, and would wait for them for
# ever in the first operation of torch that is shared out among them.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))
