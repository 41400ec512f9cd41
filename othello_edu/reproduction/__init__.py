"""Du et al. (2025) reproduced: every figure and table, by the paper's protocol and by a corrected one.

Example:
    >>> results = load_results("small", "corrected")
    >>> results["model"], results["claims"][0]["source"]
    ('small', 'Fig. 2')

See Also:
    Chapter 10, :doc:`/notebooks/10_auditing_a_claim`; `reproduction.run.reproduce`.
"""

from .protocol import CORRECTED, FULL, PROTOCOLS, PUBLISHED, QUICK, SIZES, Protocol, Sizes
from .results import load_results, read_results
from .run import reproduce
