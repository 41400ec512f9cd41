"""Draw the picture of the landing page and the logo: `python book/images/draw.py` writes both files."""

from pathlib import Path

import othello_edu as oe
from othello_edu.drawing import FELT, GREY, INK, PAPER, YELLOW, BoardPanel, board_elements, disc_element

HERE = Path(__file__).resolve().parent
LOGO = HERE.parent / "_static" / "logo.svg"
PLY = 25  # moves played on the board of the picture


def text(
    words: str, x: float, y: float, size: int = 15, anchor: str = "start", weight: str = "normal"
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" '
        f'fill="{INK}">{words}</text>'
    )


def moves_and_board() -> str:
    """Left, what the network reads: the moves of a random game. Right, what it never sees: the board."""
    games = oe.random_games(1, seed=7)
    names = [name for name in map("".join, zip(*[iter(games.transcript(0))] * 2, strict=True))][:PLY]
    parts = [text("What it reads, and must continue", 10, 24, weight="bold")]
    for at, name in enumerate([*names, "?"]):
        x, y = 10 + 52 * (at % 7), 44 + 52 * (at // 7)
        fill, dash = (PAPER, "") if name != "?" else (YELLOW, ' stroke-dasharray="4 3"')
        parts.append(
            f'<rect x="{x}" y="{y}" width="44" height="40" rx="6" fill="{fill}" stroke="{GREY}"{dash}/>'
        )
        parts.append(text(name, x + 22, y + 26, 17, "middle"))
    parts.append(f'<path d="M384 150h36m-11-9l11 9l-11 9" fill="none" stroke="{GREY}" stroke-width="3"/>')
    parts.append(text("What it is never shown", 445, 24, weight="bold"))
    board = BoardPanel(games.board(0, PLY - 1).contents)
    parts += ['<g transform="translate(445 52)">', *board_elements(board, step=28), "</g>"]
    return svg(680, 286, "A game as moves, and the board they lead to", parts)


def logo() -> str:
    parts = [f'<rect width="64" height="64" rx="10" fill="{FELT}"/>']
    discs = ((2, 18, 18), (1, 46, 18), (1, 18, 46), (2, 46, 46))
    parts += [disc_element(player, x, y, radius=13) for player, x, y in discs]
    return svg(64, 64, "Four discs", parts)


def svg(width: int, height: int, title: str, parts: list[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" role="img"><title>{title}</title>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


PICTURES = {HERE / "moves_and_board.svg": moves_and_board, LOGO: logo}

if __name__ == "__main__":
    for path, draw in PICTURES.items():
        path.write_text(draw(), encoding="utf-8")
        print(path)
