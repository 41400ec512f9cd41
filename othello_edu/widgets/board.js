// What the widgets share: a board on the page, its buttons, legends, how values look, and the words for all of it.

import { lines, PLAYERS, squareName } from "./othello.js";

// As in `drawing.py`. Okabe and Ito's colours, which readers with any colour vision can tell apart; a heat map stops
// before its darkest colour, on which a black disc could not be seen.
export const LABEL_COLOURS = ["#e6e6e3", "#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#0072b2", "#d55e00"];
export const SEQUENTIAL_STOPS = ["#f6f6f3", "#8ecbee", "#0072b2"];
export const DIVERGING_STOPS = ["#d55e00", "#f6f6f3", "#0072b2"];
export const DISC_RADIUS = 0.38; // in sides of a square, as the next
export const RING_WIDTH = 0.09;

export function element(tag, attributes = {}, children = []) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== undefined) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// Keeps single keys from the notebook, for which "x" on a square would mean: cut the cell. Keys with Control stay the
// page's.
export function captureKeys(root) {
  root.addEventListener("keydown", (event) => {
    if (!event.ctrlKey && !event.metaKey && !event.altKey) event.stopPropagation();
  });
}

export const capitalize = (text) => text[0].toUpperCase() + text.slice(1);

// Drawn, not typed: the characters for "first" and "last" are missing from many fonts.
export function iconButton(name, path) {
  const node = element("button", { type: "button", "aria-label": name, title: name });
  node.innerHTML = `<svg viewBox="0 0 16 16" aria-hidden="true"><path d="${path}"/></svg>`;
  return node;
}

export const ICONS = {
  first: "M2 2h2v12h-2zM14 2v12l-9-6z", back: "M12 2v12l-9-6z", next: "M4 2v12l9-6z", last: "M12 2h2v12h-2zM2 2v12l9-6z",
};

// aria-disabled, not disabled: a button that vanishes under the finger would lose the keyboard's focus.
export function setDisabled(button, disabled) {
  button.setAttribute("aria-disabled", disabled);
}

// A scale gives a value its colour, its text, and the sign that stands on its square. Here: a heat map of numbers,
// without signs. low, high: in the unit of the numbers.
export function numberScale(low, high) {
  const stops = low < 0 && high > 0 ? DIVERGING_STOPS : SEQUENTIAL_STOPS;
  // Two significant digits of the distance of the limits.
  const digits = Math.min(8, Math.max(0, 2 - Math.ceil(Math.log10(high - low) - 1e-9)));
  return {
    stops, low, high,
    text: (value) => value.toFixed(digits).replace(/^-(0\.?0*)$/, "$1").replace("-", "−"),
    colour(value) {
      const fraction = Math.max(0, Math.min(1, (value - low) / (high - low)));
      const [from, to] = fraction < 0.5 ? [stops[0], stops[1]] : [stops[1], stops[2]];
      return `color-mix(in srgb, ${to} ${200 * (fraction < 0.5 ? fraction : fraction - 0.5)}%, ${from})`;
    },
    sign: () => "",
  };
}

// A scale of labels 0, 1, … with a name each: the sign is the digit, but for label 0.
export function labelScale(names) {
  return { names, colour: (label) => LABEL_COLOURS[label], text: (label) => names[label], sign: (label) => label || "" };
}

export function swatch(kind) {
  return element("span", { class: `oe-swatch ${kind}`, "aria-hidden": "true" });
}

export const legendEntry = (sample, text) => element("span", { class: "oe-key" }, [sample, text]);

// The entries of a legend that explain values on a board.
export function scaleLegend(scale, name) {
  if (scale.names) {
    return [element("span", {}, [`${name}:`]), ...scale.names.map((text, label) => {
      const sample = swatch("");
      sample.style.backgroundColor = scale.colour(label);
      sample.append(element("span", { class: "oe-sign" }, [`${scale.sign(label)}`]));
      return legendEntry(sample, text);
    })];
  }
  const bar = element("span", { class: "oe-ramp", "aria-hidden": "true" });
  bar.style.background = `linear-gradient(to right, ${scale.stops.join(", ")})`;
  return [element("span", { class: "oe-key" }, [`${name}: ${scale.text(scale.low)}`, bar, scale.text(scale.high)])];
}

// A board of squares. roles: those of a table to look at, or of a grid whose squares can be chosen.
export function makeBoard(size, { label = "Board", playable = false } = {}) {
  const role = playable ? { board: "grid", cell: "gridcell" } : { board: "table", cell: "cell" };
  const cells = new Map(), inside = lines(size);
  const name = (text) => element("div", { role: "columnheader", class: "oe-name" }, [text]);
  const corner = element("div", { role: "columnheader", class: "oe-name", "aria-label": "row" });
  const rows = [element("div", { role: "row" }, [corner, ...inside.map((column) => name("abcdefgh"[column]))])];
  for (const row of inside) {
    const squares = inside.map((column) => {
      const cell = element("div", { role: role.cell, class: "oe-square", tabindex: playable ? -1 : undefined }, [
        element("span", { class: "oe-sign" }),
      ]);
      cell.dataset.square = squareName(8 * row + column);
      cells.set(8 * row + column, cell);
      return cell;
    });
    rows.push(element("div", { role: "row" }, [element("div", { role: "rowheader", class: "oe-name" }, [`${row + 1}`]), ...squares]));
  }
  const root = element("div", { role: role.board, "aria-label": label, class: "oe-board", tabindex: playable ? undefined : 0 }, rows);
  root.style.setProperty("--oe-lines", size);
  return { root, cells, size };
}

// Draws one square. position: of `othello.js`. options: {marked: name of its mark, value, scale, valueName, showLegal,
// legalText}, each of which may be missing.
export function drawSquare(cell, square, position, options = {}) {
  const disc = position.board[square] ? PLAYERS[position.board[square]] : undefined;
  const states = {
    last: position.last === square,
    flipped: position.flipped.includes(square),
    legal: options.showLegal !== false && position.legal.includes(square),
    marked: Boolean(options.marked),
  };
  const hasValue = options.value !== undefined;
  cell.className = ["oe-square", disc && `oe-${disc}`, ...Object.keys(states).filter((s) => states[s]).map((s) => `oe-${s}`)]
    .filter(Boolean).join(" ");
  cell.style.backgroundColor = hasValue ? options.scale.colour(options.value) : "";
  cell.firstChild.textContent = hasValue ? options.scale.sign(options.value) : "";
  const properties = [disc ?? "empty", states.last && "played last", states.flipped && "turned over",
    states.legal && (options.legalText ?? "may be played next"), states.marked && options.marked,
    hasValue && `${options.valueName} ${options.scale.text(options.value)}`];
  const text = `${squareName(square)}: ${properties.filter(Boolean).join(", ")}`;
  cell.setAttribute("aria-label", text);
  cell.title = text;
}

// What the last move did, and who moves next, in one to three sentences. positions: of a whole game; ply: which of them.
export function describeMove(positions, ply, total = positions.length - 1) {
  const { board, toMove, mover, last, flipped, passed } = positions[ply];
  const count = (player) => board.reduce((sum, disc) => sum + (disc === player), 0);
  const turn = toMove ? `${capitalize(PLAYERS[toMove])} to move` : "The game is over";
  const standing = `black ${count(1)}, white ${count(2)}. ${turn}.`;
  if (ply === 0) return `Start: ${standing}`;
  const passes = passed ? ` ${capitalize(PLAYERS[passed])} cannot move and passes.` : "";
  return `Move ${ply} of ${total}: ${PLAYERS[mover]} plays ${squareName(last)} and turns over ${flipped.slice().sort((a, b) => a - b).map(squareName).join(", ")}.${passes} Now ${standing}`;
}
