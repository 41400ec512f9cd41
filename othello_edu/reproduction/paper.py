"""The paper's numbers: what its experiments were set to, and what it found (Du et al., 2025).

Arrays and tables are as printed there. What this package does otherwise is in `protocol.py`.
"""

# Settings --------------------------------------------------------------------------------------------

FIRST_PLY, LAST_PLY = 4, 55  # the boards that are looked at, 52 a game
COLOUR_THRESHOLD, STABILITY_THRESHOLD = 0.7, 0.8  # of AUROC: Fig. 3, and Fig. 5 with Tables 1-7
TOP_TRIPLES = 50  # Fig. 3
TABLE_ROWS = 20  # Tables 3-7
COSINE_THRESHOLD = 0.2  # Fig. 4
L1 = 0.077  # the price of activity of its SAEs
BATCH_GAMES = 64  # of its probes
RATE, LOWEST_RATE, HALF_CYCLE = 1e-3, 1e-6, 10  # learning rate, where its cosine ends, steps until then

# Results ---------------------------------------------------------------------------------------------

# Accuracy of linear probes in % of layers 0 to 7, two seeds (Fig. 2).
FIG_2_ACCURACY = (
    (62.1, 82.1, 87.8, 90.1, 91.6, 92.6, 93.0, 93.1),
    (62.1, 81.8, 87.2, 89.7, 91.8, 92.8, 93.0, 93.2),
)
MOST_TILES = {"Table 1": 26, "Table 2": 24}  # that one feature passes in one layer
BEST_AUROC = {  # {table: (layer, AUROC)}
    "Table 3": (1, 0.8814),
    "Table 4": (2, 0.9504),
    "Table 5": (4, 0.8999),
    "Table 6": (5, 0.8532),
    "Table 7": (7, 0.8495),
}
