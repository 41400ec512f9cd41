// Boards as a probe reads them from a network: small ones, each drawn as one picture, so that nine of them cost little;
// and a large one whose squares say what is read there.

import { DISC_RADIUS, makeBoard, RING_WIDTH } from "./board.js";
import { lines, PLAYERS, squareName } from "./othello.js";

const SVG = "http://www.w3.org/2000/svg", CELL = 10;

function svgElement(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

// What a probe reads at one stage: from probabilities p [64 * 3], the likeliest contents of each square (0 empty, 1
// mine, 2 theirs; mine belongs to the player to move), their probability (certainty), and the squares where they are
// wrong. edit: {square, to} where a disc was turned over in the network, or null; if it is read as `to`, the square is
// `edited`: it counts as neither right nor wrong.
export function decodeBoard(p, position, size, edit = null) {
  const contents = new Uint8Array(64), certainty = new Float32Array(64), wrong = [];
  let nJudged = 0, sum = 0, edited = null;
  for (const row of lines(size)) {
    for (const column of lines(size)) {
      const square = 8 * row + column, at = 3 * square;
      const kind = p[at] >= p[at + 1] && p[at] >= p[at + 2] ? 0 : p[at + 1] >= p[at + 2] ? 1 : 2;
      const disc = position.board[square];
      const truth = disc === 0 ? 0 : disc === position.toMove ? 1 : 2;
      contents[square] = kind;
      certainty[square] = p[at + kind];
      sum += p[at + kind];
      if (edit?.square === square && kind === edit.to) {
        edited = square;
        continue;
      }
      if (position.toMove && kind !== truth) wrong.push(square);
      nJudged += 1;
    }
  }
  return { contents, certainty, wrong, edited, nJudged, nRight: nJudged - wrong.length, meanCertainty: sum / size ** 2 };
}

// The disc that a decoded board has on a square: 0 none, 1 black, 2 white.
function discAt(decoded, square, { toMove }) {
  const kind = decoded.contents[square], mover = toMove || 1;
  return kind === 0 ? 0 : kind === 1 ? mover : 3 - mover;
}

// A picture of a board: draw(decoded, position) shows a decoded board; draw(null, position) the position itself, and
// draw(null, null) squares of which nothing is known.
export function smallBoard(size) {
  const margin = (8 - size) / 2, side = size * CELL;
  const root = svgElement("svg", { viewBox: `0 0 ${side} ${side}`, class: "oe-mini", "aria-hidden": "true" });
  const squares = new Map();
  for (const row of lines(size)) {
    for (const column of lines(size)) {
      const x = (column - margin) * CELL, y = (row - margin) * CELL;
      const ground = svgElement("rect", { x, y, width: CELL, height: CELL, class: "oe-mini-square" });
      const disc = svgElement("circle", { cx: x + CELL / 2, cy: y + CELL / 2 });
      const cross = svgElement("path", { d: `M${x + 1.5} ${y + 1.5}l7 7m0 -7l-7 7`, class: "oe-mini-wrong" });
      const bar = svgElement("path", { d: `M${x + 2.5} ${y + 5}h5`, class: "oe-mini-edited" });
      root.append(ground, disc, cross, bar);
      squares.set(8 * row + column, { disc, cross, bar });
    }
  }
  return {
    root,
    draw(decoded, position) {
      root.classList.toggle("oe-unread", !position);
      for (const [square, { disc, cross, bar }] of squares) {
        const colour = decoded ? discAt(decoded, square, position) : position ? position.board[square] : 0;
        const ring = colour === 2 ? CELL * RING_WIDTH : 0; // its line lies half inside and half outside of r
        disc.setAttribute("class", ["oe-mini-none", "oe-mini-black", "oe-mini-white"][colour]);
        disc.setAttribute("r", CELL * DISC_RADIUS - ring / 2);
        disc.setAttribute("stroke-width", ring);
        disc.style.opacity = decoded ? decoded.certainty[square] : 1;
        cross.style.display = decoded && decoded.wrong.includes(square) ? "" : "none";
        bar.style.display = decoded && decoded.edited === square ? "" : "none";
      }
    },
  };
}

// A board as large as the true one. draw(decoded, position, other): without a decoded board it is empty; squares where
// it differs from another stage's are outlined, if that is given.
export function largeBoard(size, label) {
  const { root, cells } = makeBoard(size, { label });
  const name = (disc) => (disc ? PLAYERS[disc] : "empty");
  return {
    root,
    draw(decoded, position, other) {
      root.classList.toggle("oe-unread", !decoded);
      for (const [square, cell] of cells) {
        const disc = decoded ? discAt(decoded, square, position) : 0, truth = position.board[square];
        const wrong = decoded !== null && decoded.wrong.includes(square), edited = decoded?.edited === square;
        const differs = Boolean(decoded && other) && discAt(other, square, position) !== disc;
        cell.className = ["oe-square", disc && `oe-${PLAYERS[disc]}`, wrong && "oe-wrong", edited && "oe-edited", differs && "oe-differs"]
          .filter(Boolean).join(" ");
        cell.style.setProperty("--oe-certainty", decoded ? decoded.certainty[square] : 1);
        const probability = decoded ? `, ${Math.round(100 * decoded.certainty[square])}% sure` : "";
        const text = `${squareName(square)}: ${decoded ? `${name(disc)}${probability}` : "nothing read"}`
          + (edited ? "; turned over on purpose" : "") + (wrong || edited ? `; in truth ${name(truth)}` : "") + (differs ? `; the other stage: ${name(discAt(other, square, position))}` : "");
        cell.setAttribute("aria-label", text);
        cell.title = text;
      }
    },
  };
}
