// A game that can be played: its state, and the board, buttons and text field with which a reader changes it.
// Used by BoardWidget and by the LayerExplorer.

import { describeMove, drawSquare, element, iconButton, ICONS, makeBoard, setDisabled } from "./board.js";
import { flips, parseSquare, parseTranscript, play, replay, transcript } from "./othello.js";

// A game with undo and redo: `ply` of its moves are on the board, those after it were undone. `read` and `write` connect
// it to where the state is kept: {moves: "f5d6", ply}.
export function createGame({ read, write, size }) {
  let text = null, positions = null;
  const replayed = () => {
    const { moves } = read();
    if (moves !== text) [text, positions] = [moves, replay((moves.match(/../g) ?? []).map(parseSquare), size)];
    return positions;
  };
  const moves = () => replayed().slice(1).map((position) => position.last);
  return {
    size,
    get positions() { return replayed(); },
    get ply() { return Math.min(read().ply, replayed().length - 1); },
    get position() { return replayed()[this.ply]; },
    get length() { return replayed().length - 1; },
    get moves() { return moves().slice(0, this.ply); },
    go(ply) { write({ moves: read().moves, ply: Math.max(0, Math.min(this.length, ply)) }); },
    // Throws an Error for a move that is not legal. What had been undone is forgotten, unless it was this move.
    play(square) {
      play(this.position, square);
      const { ply } = this, played = moves();
      const line = played[ply] === square ? played : [...played.slice(0, ply), square];
      write({ moves: transcript(line), ply: ply + 1 });
    },
    // Throws an Error that names the first move that is wrong; the game stays as it was.
    load(pasted) {
      const line = parseTranscript(pasted, size);
      write({ moves: transcript(line), ply: line.length });
    },
  };
}

// The squares one step from a square in the direction of an arrow key, staying on the board.
const ARROWS = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -8, ArrowDown: 8 };

// The parts of a board that can be played on, and `draw(options)`, which draws the game's position; options:
// a function from a square to the options of `drawSquare`. showLegal: whether to show legal moves, a function.
export function makePlayable(game, { showLegal = () => true } = {}) {
  const { root: board, cells } = makeBoard(game.size, { label: "Board. Arrow keys move, Enter plays, Backspace takes back.", playable: true });
  const status = element("p", { class: "oe-status", role: "status", "aria-live": "polite" });
  const error = element("p", { class: "oe-error", role: "alert" });
  let focused = [...cells.keys()].find((square) => game.position.legal.includes(square)) ?? cells.keys().next().value;

  const attempt = (action) => {
    error.textContent = "";
    try {
      action();
    } catch (problem) {
      error.textContent = `${problem.message}. The board is unchanged.`;
    }
  };
  // Tab leads to one square of the board: to the one that had the focus last.
  const makeTabStop = (square) => {
    cells.get(focused).tabIndex = -1;
    focused = square;
    cells.get(square).tabIndex = 0;
  };
  const preview = (square) => {
    const { toMove, board: discs } = game.position;
    const turned = square === null || !toMove || !showLegal() ? [] : flips(discs, square, toMove, game.size);
    for (const [at, cell] of cells) cell.classList.toggle("oe-would-flip", turned.includes(at));
  };

  for (const [square, cell] of cells) {
    cell.onclick = () => attempt(() => game.play(square));
    cell.onpointerenter = (event) => event.pointerType === "mouse" && preview(square);
    cell.onfocus = () => { makeTabStop(square); preview(square); };
    cell.onblur = cell.onpointerleave = () => preview(null);
  }
  board.onkeydown = (event) => {
    const { key } = event, redo = key === "y" || (key.toLowerCase() === "z" && event.shiftKey);
    const control = event.ctrlKey || event.metaKey;
    if (event.altKey || (control && !["z", "y"].includes(key.toLowerCase()))) return;
    if (key in ARROWS && !control) {
      const next = focused + ARROWS[key];
      const sameRow = key === "ArrowUp" || key === "ArrowDown" || next >> 3 === focused >> 3;
      if (cells.has(next) && sameRow) cells.get(next).focus();
    } else if ((key === "Enter" || key === " ") && !control) attempt(() => game.play(focused));
    else if (control && redo) game.go(game.ply + 1);
    else if (key === "Backspace" || control) game.go(game.ply + (event.shiftKey ? 1 : -1));
    else if (key === "Home") game.go(0);
    else if (key === "End") game.go(game.length);
    else return;
    event.preventDefault();
    event.stopPropagation(); // with Control, too: those that are ours
  };

  const [first, back, next, last] = [
    iconButton("Start of the game", ICONS.first), iconButton("Undo", ICONS.back), iconButton("Redo", ICONS.next), iconButton("Last position", ICONS.last),
  ];
  first.onclick = () => game.go(0);
  back.onclick = () => game.go(game.ply - 1);
  next.onclick = () => game.go(game.ply + 1);
  last.onclick = () => game.go(game.length);
  const slider = element("input", { type: "range", min: 0, step: 1, "aria-label": "Number of moves played" });
  slider.oninput = () => game.go(Number(slider.value));
  const controls = element("div", { class: "oe-controls" }, [first, back, next, last]);

  const field = element("input", { type: "text", "aria-label": "Moves of a game, such as f5d6c3", placeholder: "moves, such as f5d6c3", spellcheck: "false", autocomplete: "off" });
  const load = element("button", { type: "button" }, ["Load"]);
  const copy = element("button", { type: "button" }, ["Copy"]);
  const moves = element("div", { class: "oe-moves" }, [field, load, copy]);
  load.onclick = () => attempt(() => game.load(field.value));
  field.onkeydown = (event) => {
    if (event.key === "Enter") load.click();
  };
  copy.onclick = async () => {
    field.value = transcript(game.moves);
    field.select();
    try {
      await navigator.clipboard.writeText(field.value);
      status.textContent = "The moves are on the clipboard.";
    } catch {
      status.textContent = "The moves are in the field, selected: copy them with the keyboard.";
    }
  };

  function draw(options = () => ({})) {
    const { position, ply } = game;
    for (const [square, cell] of cells) {
      const n = flips(position.board, square, position.toMove || 1, game.size).length;
      drawSquare(cell, square, position, { showLegal: showLegal(), legalText: `legal, turns over ${n}`, ...options(square) });
      cell.tabIndex = square === focused ? 0 : -1;
    }
    slider.max = game.length;
    slider.value = ply;
    slider.setAttribute("aria-valuetext", `move ${ply} of ${game.length}`);
    status.textContent = describeMove(game.positions, ply);
    if (document.activeElement !== field) field.value = transcript(game.moves);
    for (const [button, disabled] of [[first, ply === 0], [back, ply === 0], [next, ply === game.length], [last, ply === game.length]]) {
      setDisabled(button, disabled);
    }
  }
  return { board, cells, controls, slider, status, error, moves, draw };
}
