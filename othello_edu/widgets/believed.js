// Small boards that show what a network believes: drawn as one picture each, so that nine of them cost little.

import { lines } from "./othello.js";

const SVG = "http://www.w3.org/2000/svg", CELL = 10;

function shape(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

// What the probabilities of one stage, [64 * 3], say of a position: contents of each square as read (0 empty, 1
// mine, 2 theirs), how sure, and where it is wrong. Mine belongs to the player to move.
export function readingOf(p, position, size) {
  const contents = new Uint8Array(64), certainty = new Float32Array(64), wrong = [];
  let n = 0, sure = 0;
  for (const row of lines(size)) {
    for (const column of lines(size)) {
      const square = 8 * row + column, at = 3 * square;
      const kind = p[at] >= p[at + 1] && p[at] >= p[at + 2] ? 0 : p[at + 1] >= p[at + 2] ? 1 : 2;
      const disc = position.board[square];
      const truth = disc === 0 ? 0 : disc === position.toMove ? 1 : 2;
      contents[square] = kind;
      certainty[square] = p[at + kind];
      if (position.toMove && kind !== truth) wrong.push(square);
      n += 1;
      sure += p[at + kind];
    }
  }
  return { contents, certainty, wrong, n, right: n - wrong.length, sure: sure / n };
}

// A picture of a board: draw(reading, position) shows the reading, or the position itself where there is none.
export function believedBoard(size) {
  const margin = (8 - size) / 2, side = size * CELL;
  const root = shape("svg", { viewBox: `0 0 ${side} ${side}`, class: "oe-mini", "aria-hidden": "true" });
  const squares = new Map();
  for (const row of lines(size)) {
    for (const column of lines(size)) {
      const x = (column - margin) * CELL, y = (row - margin) * CELL;
      const ground = shape("rect", { x, y, width: CELL, height: CELL, class: "oe-mini-square" });
      const disc = shape("circle", { cx: x + CELL / 2, cy: y + CELL / 2, r: CELL * 0.38 });
      const cross = shape("path", { d: `M${x + 1.5} ${y + 1.5}l7 7m0 -7l-7 7`, class: "oe-mini-wrong" });
      root.append(ground, disc, cross);
      squares.set(8 * row + column, { disc, cross });
    }
  }
  return {
    root,
    draw(reading, position) {
      const me = position.toMove || 1;
      for (const [square, { disc, cross }] of squares) {
        const kind = reading ? reading.contents[square] : 0;
        const colour = reading ? (kind === 0 ? 0 : kind === 1 ? me : 3 - me) : position.board[square];
        disc.setAttribute("class", ["oe-mini-none", "oe-mini-black", "oe-mini-white"][colour]);
        disc.style.opacity = reading ? reading.certainty[square] : 1;
        cross.style.display = reading && reading.wrong.includes(square) ? "" : "none";
      }
    },
  };
}
