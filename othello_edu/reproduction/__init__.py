"""Du et al. (2025) reproduced: every figure and table, by the paper's protocol and by a corrected one."""

from .protocol import CORRECTED, FULL, PROTOCOLS, PUBLISHED, QUICK, SIZES, Protocol, Sizes
from .results import load_results, read_results
from .run import reproduce
