// Boards that show what a network believes: small ones, each drawn as one picture, so that nine of them cost
// little; and a large one whose squares say what is read there.

import { DISC_RADIUS, makeBoard, RING_WIDTH } from "./board.js";
import { lines, PLAYERS, squareName } from "./othello.js";

const SVG = "http://www.w3.org/2000/svg", CELL = 10;

function shape(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

// What the probabilities of one stage, [64 * 3], say of a position: contents of each square as read (0 empty, 1
// mine, 2 theirs), how sure, and where it is wrong. Mine belongs to the player to move. edit: {square, to} where a
// disc was turned over in the network's mind, or null; if it is read as `to` there, that is edited: it is neither
// right nor wrong, and not counted.
export function readingOf(p, position, size, edit = null) {
  const contents = new Uint8Array(64), certainty = new Float32Array(64), wrong = [];
  let n = 0, sure = 0, edited = null;
  for (const row of lines(size)) {
    for (const column of lines(size)) {
      const square = 8 * row + column, at = 3 * square;
      const kind = p[at] >= p[at + 1] && p[at] >= p[at + 2] ? 0 : p[at + 1] >= p[at + 2] ? 1 : 2;
      const disc = position.board[square];
      const truth = disc === 0 ? 0 : disc === position.toMove ? 1 : 2;
      contents[square] = kind;
      certainty[square] = p[at + kind];
      sure += p[at + kind];
      if (edit?.square === square && kind === edit.to) {
        edited = square;
        continue;
      }
      if (position.toMove && kind !== truth) wrong.push(square);
      n += 1;
    }
  }
  return { contents, certainty, wrong, edited, n, right: n - wrong.length, sure: sure / size ** 2 };
}

// The disc that a reading has on a square: 0 none, 1 black, 2 white.
function discOf(reading, square, { toMove }) {
  const kind = reading.contents[square], me = toMove || 1;
  return kind === 0 ? 0 : kind === 1 ? me : 3 - me;
}

// A picture of a board: draw(reading, position) shows the reading; draw(null, position) the position itself, and
// draw(null, null) squares of which nothing is known.
export function believedBoard(size) {
  const margin = (8 - size) / 2, side = size * CELL;
  const root = shape("svg", { viewBox: `0 0 ${side} ${side}`, class: "oe-mini", "aria-hidden": "true" });
  const squares = new Map();
  for (const row of lines(size)) {
    for (const column of lines(size)) {
      const x = (column - margin) * CELL, y = (row - margin) * CELL;
      const ground = shape("rect", { x, y, width: CELL, height: CELL, class: "oe-mini-square" });
      const disc = shape("circle", { cx: x + CELL / 2, cy: y + CELL / 2 });
      const cross = shape("path", { d: `M${x + 1.5} ${y + 1.5}l7 7m0 -7l-7 7`, class: "oe-mini-wrong" });
      const bar = shape("path", { d: `M${x + 2.5} ${y + 5}h5`, class: "oe-mini-edited" });
      root.append(ground, disc, cross, bar);
      squares.set(8 * row + column, { disc, cross, bar });
    }
  }
  return {
    root,
    draw(reading, position) {
      root.classList.toggle("oe-unread", !position);
      for (const [square, { disc, cross, bar }] of squares) {
        const colour = reading ? discOf(reading, square, position) : position ? position.board[square] : 0;
        const ring = colour === 2 ? CELL * RING_WIDTH : 0; // its line lies half inside and half outside of r
        disc.setAttribute("class", ["oe-mini-none", "oe-mini-black", "oe-mini-white"][colour]);
        disc.setAttribute("r", CELL * DISC_RADIUS - ring / 2);
        disc.setAttribute("stroke-width", ring);
        disc.style.opacity = reading ? reading.certainty[square] : 1;
        cross.style.display = reading && reading.wrong.includes(square) ? "" : "none";
        bar.style.display = reading && reading.edited === square ? "" : "none";
      }
    },
  };
}

// A board as large as the true one. draw(reading, position, other): other, a second reading, if squares where the
// two differ are to be outlined; without a reading the board is empty.
export function believedTable(size, label) {
  const { root, cells } = makeBoard(size, { label });
  const name = (disc) => (disc ? PLAYERS[disc] : "empty");
  return {
    root,
    draw(reading, position, other) {
      root.classList.toggle("oe-unread", !reading);
      for (const [square, cell] of cells) {
        const disc = reading ? discOf(reading, square, position) : 0, truth = position.board[square];
        const wrong = reading !== null && reading.wrong.includes(square), edited = reading?.edited === square;
        const differs = Boolean(reading && other) && discOf(other, square, position) !== disc;
        cell.className = ["oe-square", disc && `oe-${PLAYERS[disc]}`, wrong && "oe-wrong", edited && "oe-edited", differs && "oe-differs"]
          .filter(Boolean).join(" ");
        cell.style.setProperty("--oe-sure", reading ? reading.certainty[square] : 1);
        const sure = reading ? `, ${Math.round(100 * reading.certainty[square])}% sure` : "";
        const text = `${squareName(square)}: ${reading ? `${name(disc)}${sure}` : "nothing read"}`
          + (edited ? "; turned over on purpose" : "") + (wrong || edited ? `; in truth ${name(truth)}` : "") + (differs ? `; the other stage: ${name(discOf(other, square, position))}` : "");
        cell.setAttribute("aria-label", text);
        cell.title = text;
      }
    },
  };
}
