"""How GPT Learns, Layer by Layer: the package behind the book."""

from .activations import mlp_activations, residual_streams
from .board import Board
from .engine import perft
from .games import Games, Positions, next_tokens, random_games, replay, split_games, tokens
from .labels import contents
from .model import GPT, GPTConfig
from .pretrained import load_pretrained
from .records import read_pgn, read_transcripts, read_wthor, write_pgn, write_transcripts, write_wthor
from .scoring import auroc
from .stability import refuted, stable_exact, stable_paper, stable_sound
