// GameTape: step through one game of Othello. The model holds its moves and what is drawn on them, so this
// needs no kernel, and no library.

import { captureKeys, describeMove, drawSquare, element, iconButton, ICONS, labelScale, legendEntry, makeBoard, numberScale, scaleLegend, setDisabled, swatch } from "./board.js";
import { parseSquare, replay } from "./othello.js";

const STEP_MS = 700;
const NO_VALUE = 255;

// The game and what is drawn on it, read once from the model.
function readGame(model) {
  const moves = (model.get("moves").match(/../g) ?? []).map(parseSquare);
  const bytes = Uint8Array.from(atob(model.get("values")), (character) => character.charCodeAt(0));
  const marks = model.get("marks"), names = model.get("names"), [low, high] = model.get("limits");
  // 254 steps between the limits of a heat map; a label is the byte itself.
  const decode = (byte) => (names.length ? byte : low + ((high - low) * byte) / (NO_VALUE - 1));
  return {
    moves,
    positions: replay(moves, model.get("board_size")),
    scale: names.length ? labelScale(names) : bytes.length ? numberScale(low, high) : undefined,
    valueName: model.get("value_name"),
    markName: model.get("mark_name"),
    hasMarks: marks.length > 0,
    isMarked: (ply, square) => ply > 0 && marks[64 * (ply - 1) + square] === "1",
    // Undefined where there is no value; the start of the game has none.
    value(ply, square) {
      const byte = ply > 0 ? bytes[64 * (ply - 1) + square] : undefined;
      return byte === undefined || byte === NO_VALUE ? undefined : decode(byte);
    },
  };
}

function legend(game) {
  const entries = game.scale ? scaleLegend(game.scale, game.valueName) : [];
  if (game.hasMarks) entries.push(legendEntry(swatch("oe-marked"), game.markName));
  entries.push(legendEntry(swatch("oe-last"), "played last"), legendEntry(swatch("oe-flipped"), "turned over"), legendEntry(swatch("oe-legal"), "may be played next"));
  return element("div", { class: "oe-legend" }, entries);
}

export function render({ model, el }) {
  const game = readGame(model);
  const last = game.moves.length;
  const { root: board, cells } = makeBoard(model.get("board_size"));

  const [first, back, next, end] = [
    iconButton("First position", ICONS.first), iconButton("Back one move", ICONS.back),
    iconButton("Next move", ICONS.next), iconButton("Last position", ICONS.last),
  ];
  const play = element("button", { type: "button" }, ["Play"]);
  const slider = element("input", { type: "range", min: 0, max: last, step: 1, "aria-label": "Number of moves played" });
  const status = element("p", { class: "oe-status", role: "status", "aria-live": "polite" });
  const controls = element("div", { class: "oe-controls" }, [first, back, play, next, end]);
  const heading = element("p", { class: "oe-title", "aria-hidden": "true" }, [model.get("title")]);
  const root = element("div", { class: "oe-widget oe-tape", role: "group", "aria-label": model.get("title") }, [
    heading, board, controls, slider, status, legend(game),
  ]);

  let timer = null;
  function draw() {
    const ply = model.get("ply");
    for (const [square, cell] of cells) {
      drawSquare(cell, square, game.positions[ply], {
        marked: game.isMarked(ply, square) && game.markName,
        value: game.value(ply, square), valueName: game.valueName, scale: game.scale,
      });
    }
    slider.value = ply;
    slider.setAttribute("aria-valuetext", `move ${ply} of ${last}`);
    status.textContent = describeMove(game.positions, ply);
    for (const [button, disabled] of [[first, ply === 0], [back, ply === 0], [next, ply === last], [end, ply === last]]) {
      setDisabled(button, disabled);
    }
  }
  function go(ply) {
    model.set("ply", Math.max(0, Math.min(last, ply)));
    model.save_changes();
  }
  function pause() {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
    status.setAttribute("aria-live", "polite");
  }
  function start() {
    if (model.get("ply") === last) go(0);
    status.setAttribute("aria-live", "off"); // a move every 700 ms is more than can be read aloud
    play.textContent = "Pause";
    timer = setInterval(() => {
      go(model.get("ply") + 1);
      if (model.get("ply") === last) pause();
    }, STEP_MS);
  }
  const step = (ply) => { pause(); go(ply()); };

  const keyTargets = {
    Home: () => 0, ArrowLeft: () => model.get("ply") - 1, ArrowRight: () => model.get("ply") + 1, End: () => last,
  };
  first.onclick = () => step(keyTargets.Home);
  back.onclick = () => step(keyTargets.ArrowLeft);
  next.onclick = () => step(keyTargets.ArrowRight);
  end.onclick = () => step(keyTargets.End);
  play.onclick = () => (timer === null ? start() : pause());
  slider.oninput = () => step(() => Number(slider.value));
  root.onkeydown = (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    if (event.target !== slider && event.key in keyTargets) {
      step(keyTargets[event.key]);
      event.preventDefault();
    }
  };

  model.on("change:ply", draw);
  draw();
  captureKeys(root);
  el.append(root);
  return () => {
    pause();
    model.off("change:ply", draw);
  };
}
