"""Make the file of weights that the layer explorer of the site loads, from the shipped `small`.

`python tools/make_explorer.py FOLDER` writes the files of `write_explorer`, and `explorer.svg`, a picture for
readers without scripts. Where they are there, and neither the network nor the code has changed, nothing is
done.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import torch

import othello_edu as oe
from othello_edu.drawing import BoardPanel, boards_svg
from othello_edu.interventions import board_directions
from othello_edu.pretrained import model_folder
from othello_edu.probes import LinearProbe
from othello_edu.sae import TopK
from othello_edu.sae_training import fit
from othello_edu.widgets.explorer_file import explorer_file, write_explorer
from othello_edu.widgets.picture import describe_position

MODEL = "small"
PROBE_GAMES, SAE_GAMES, EXAMPLE_GAMES = 800, 1_500, 400
N_FEATURES, K, EPOCHS = 256, 16, 4
# Openings that people play, by the names in Robert Gatliff's list (samsoft.org.uk/reversi/openings.htm). The
# first three are the second moves that there are, up to symmetry.
OPENINGS = {
    "The diagonal opening": "c4c3",
    "The perpendicular opening": "c4e3",
    "The parallel opening": "c4c5",
    "Heath": "c4c3d3c5b4",
    "Buffalo": "c4c3d3c5f6",
    "Cow": "c4c3d3c5d6",
    "Chimney": "c4c3d3c5d6e3",
    "Rose-v-Toth": "c4c3d3c5d6f4f5",
    "Tiger": "c4e3f6e6f5",
    "Tiger, main line": "c4e3f6e6f5c5f4g5g4f3c6d3d6b3c3b4e2b6",
    "Rose-Bill": "c4e3f6e6f5c5f4g6f7",
}


def inputs() -> str:
    """What the files depend on, as one digest: the network's weights, and the code from network to file."""
    digest = hashlib.sha256()
    package = Path(oe.__file__).parent
    names = ["model", "activations", "probes", "interventions", "directions", "sae", "sae_training", "games"]
    names += ["labels", "drawing", "widgets/explorer_file", "widgets/picture"]
    for path in [model_folder(MODEL) / "model.safetensors", Path(__file__)]:
        digest.update(path.read_bytes())
    for name in names:
        digest.update((package / f"{name}.py").read_bytes())
    return digest.hexdigest()


def make(model) -> tuple[bytes, str]:
    """Fit probes and features, and pack them with the network; and a picture of what the explorer shows."""
    games = oe.random_games(PROBE_GAMES, seed=50)
    labels = oe.contents(oe.replay(games))[:, :-1]
    streams = oe.residual_streams(model, games)
    probe = LinearProbe(epochs=4).fit(streams, labels)
    written = board_directions(streams, labels)
    del streams  # those below need its memory
    games, saes = oe.random_games(SAE_GAMES, seed=51), []
    valid = oe.next_tokens(games) != 0
    for stage in range(model.n_stages):
        streams = oe.residual_streams(model, games, [stage])[0][valid]
        saes.append(fit(TopK(model.config.d_model, N_FEATURES, K), streams, epochs=EPOCHS))
        print(f"stage {stage} of {model.n_stages - 1}", flush=True)
    random = oe.random_games(40, seed=52)
    library = [{"name": f"Opening: {name}", "moves": moves} for name, moves in OPENINGS.items()]
    library.append({"name": "A random game", "moves": random.transcript(0), "ply": 20})
    library.append(surest_mistake(model, random))
    content = explorer_file(model, probe, written, saes, oe.random_games(EXAMPLE_GAMES, seed=53), library)
    return content, picture(model, probe, OPENINGS["Tiger, main line"])


@torch.no_grad()
def picture(model, probe, line) -> str:
    """The true board after a line of moves, and the board as each stage has it."""
    board, games = oe.Board.from_moves(line), oe.Games.from_transcripts([line])
    ply = len(line) // 2 - 1
    p = probe.logits(oe.residual_streams(model, games)[:, 0, ply : ply + 1])[:, 0].softmax(-1)
    certainty, kinds = (largest.numpy() for largest in p.max(-1))
    # Mine and theirs, for the player to move, as colours.
    colours = np.choose(kinds, [0, board.to_move, 3 - board.to_move])
    right = (colours == board.contents).sum(-1)
    panels = [BoardPanel(board.contents, "The board, which it is never shown")]
    panels += [
        BoardPanel(
            colours[stage], f"Stage {stage}: {right[stage]} of 64 squares right", opacity=certainty[stage]
        )
        for stage in range(model.n_stages)
    ]
    counts = ", ".join(f"stage {stage} {n}" for stage, n in enumerate(right))
    text = f"A board after {ply + 1} moves, {describe_position(board)} "
    text += f"Beside it the board as each stage has it; squares right: {counts}."
    return boards_svg(panels, text, per_row=5)


@torch.no_grad()
def surest_mistake(model, games) -> dict:
    """The position of these games at which the network is surest of a move that is not legal."""
    p = model(oe.tokens(games)).softmax(-1)[..., 1:]
    squares = oe.games.move_squares(games.board_size)[1:]
    legal = torch.from_numpy(oe.replay(games).legal[:, :-1][..., squares])
    valid = (oe.next_tokens(games) != 0)[..., None]
    wrong = p.masked_fill(legal | ~valid, 0).amax(-1)
    game, ply = divmod(int(wrong.argmax()), wrong.shape[1])
    return {"name": "A random game that fools the network", "moves": games.transcript(game), "ply": ply + 1}


def main(folder: str) -> None:
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / "explorer.json"
    made_from = inputs()
    try:
        known = json.loads(manifest.read_text(encoding="utf-8"))
        files = [known["weights"], "explorer.js", "explorer.svg"]
        if known["made_from"] == made_from and all((folder / name).exists() for name in files):
            print(f"{folder / known['weights']} is up to date")
            return
    except (OSError, ValueError, KeyError, TypeError):
        pass  # missing or damaged: made anew
    model = oe.load_pretrained(MODEL)
    content, still = make(model)
    (folder / "explorer.svg").write_text(still, encoding="utf-8")
    name = write_explorer(folder, content, model, made_from=made_from)
    print(f"written: {folder / name}, {len(content) / 2**20:.1f} MiB")


if __name__ == "__main__":
    main(sys.argv[1])
