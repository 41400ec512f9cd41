"""How GPT Learns, Layer by Layer: the package behind the book."""

from .activations import mlp_activations, residual_streams
from .board import Board
from .engine import perft
from .games import Games, Positions, next_tokens, random_games, replay, split_games, tokens
from .labels import contents
from .model import GPT, GPTConfig
from .pgn import read_pgn, write_pgn
from .pretrained import load_pretrained
from .scoring import auroc
from .stability import refuted, stable_exact, stable_paper, stable_sound
from .transcripts import read_transcripts, write_transcripts
from .wthor import read_wthor, write_wthor
