// LayerExplorer: play a game, and see layer by layer the board that a network believes in, the moves it would
// play, and the features that fire.

import { capital, element, key, numberScale, scaleKeys, swatch } from "./board.js";
import { believedBoard, readingOf } from "./believed.js";
import { KernelMind, pageMind } from "./mind.js";
import { PLAYERS, replay, squareName, transcript } from "./othello.js";
import { gameOf, makePlayable } from "./playable.js";

const SHOWN_MOVES = 8, SHOWN_EXAMPLES = 4;
const WATCHED = ["moves", "ply", "stage", "flip"];
const percent = (p) => (p >= 0.9995 ? "100%" : p < 0.0005 ? "0%" : `${(100 * p).toFixed(p < 0.1 ? 1 : 0)}%`);

function render({ model, el }) {
  const state = (name) => model.get(name);
  const change = (changes) => {
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    model.save_changes();
  };
  const game = gameOf({
    size: state("board_size"),
    read: () => ({ moves: state("moves"), ply: state("ply") }),
    write: ({ moves, ply }) => change({ moves, ply, flip: "" }),
  });
  const parts = makePlayable(game);

  // What is drawn on the board: nothing, or what the network would play next.
  const showNext = element("input", { type: "checkbox" });
  parts.moves.append(element("label", {}, [showNext, "draw its next move"]));
  const library = element("select", { "aria-label": "A game to begin with", hidden: "" });
  const legend = element("div", { class: "oe-legend" });
  const left = element("div", { class: "oe-explorer-board" }, [
    library, parts.board, parts.controls, parts.slider, parts.status, parts.error, parts.moves, legend,
  ]);

  const slider = element("input", { type: "range", min: 0, step: 1, "aria-label": "Stage" });
  const stageName = element("span", { class: "oe-stage-name" });
  const stages = element("div", { class: "oe-stages", role: "group", "aria-label": "The board as each stage has it" });
  const summary = element("p", { class: "oe-summary", role: "status", "aria-live": "polite" });
  const flip = element("select", { "aria-label": "A disc to turn over in the network's mind" });
  const flipped = element("p", { class: "oe-summary", role: "status", "aria-live": "polite" });
  const next = element("ol", { class: "oe-next" });
  const nextText = element("p", { class: "oe-summary" });
  const features = element("div", { class: "oe-features" });
  const message = element("p", { class: "oe-error", role: "alert" });
  const heading = (text) => element("p", { class: "oe-part" }, [text]);
  const right = element("div", { class: "oe-explorer-mind" }, [
    message,
    heading("The board that it believes in"), stages,
    element("div", { class: "oe-moves" }, [element("label", {}, ["stage", slider]), stageName]), summary,
    heading("The moves that it would play"), next, nextText,
    heading("Turn over a disc in its mind"), element("div", { class: "oe-moves" }, [flip]), flipped,
    heading("The features that fire most"), features,
  ]);
  const root = element("div", { class: "oe-widget oe-explorer", role: "group", "aria-label": state("title"), "data-lm-suppress-shortcuts": "true" }, [
    element("p", { class: "oe-title", "aria-hidden": "true" }, [state("title")]),
    element("div", { class: "oe-columns" }, [left, right]),
  ]);

  let mind = null, seen = null, asked = 0, small = [];
  const stage = () => Math.min(state("stage"), (mind?.stages ?? 1) - 1);

  function begin(found) {
    mind = found;
    message.textContent = "";
    slider.max = mind.stages - 1;
    small = Array.from({ length: mind.stages }, (_, k) => {
      const board = believedBoard(game.size);
      const button = element("button", { type: "button", class: "oe-stage" }, [board.root, element("span", {}, [`${k}`])]);
      button.onclick = () => change({ stage: k });
      stages.append(button);
      return { board, button };
    });
    library.append(element("option", { value: "" }, ["choose a game …"]));
    (mind.about.library ?? []).forEach(({ name }, at) => library.append(element("option", { value: at }, [name])));
    library.onchange = () => {
      if (library.value === "") return;
      const { moves, ply } = mind.about.library[library.value];
      change({ moves, ply: ply ?? moves.length / 2, flip: "" });
      library.value = "";
    };
    library.hidden = !mind.about.library?.length;
    update();
  }

  // Ask the mind about the position, and draw what it says unless the position has changed meanwhile.
  async function update() {
    parts.draw(); // at once, without the probabilities of the position before
    if (!mind) return;
    const number = (asked += 1), moves = game.moves;
    if (!mind.canRead(moves)) {
      seen = null;
      drawMind();
      return;
    }
    try {
      const edit = state("flip") && editOf(state("flip"));
      const found = await mind.look(moves, edit || undefined);
      const before = edit ? await mind.look(moves) : found;
      if (number !== asked) return;
      seen = { ...found, before };
      message.textContent = "";
    } catch (error) {
      if (number !== asked) return;
      seen = null;
      message.textContent = error.message;
    }
    drawMind();
    drawValues();
  }

  // "d3" or "": the disc of that square, turned over from the chosen stage on.
  function editOf(name) {
    const square = [...parts.cells.keys()].find((at) => squareName(at) === name);
    const { board, toMove } = game.position;
    if (square === undefined || !board[square] || !toMove) return null;
    return { square, to: board[square] === toMove ? 2 : 1, from: stage() };
  }

  // The probabilities of the next move on the board and in its legend, if they are wanted.
  function drawValues() {
    const keys = [key(swatch("oe-last"), "played last"), key(swatch("oe-flipped"), "turned over"), key(swatch("oe-legal"), "legal")];
    if (seen && showNext.checked) {
      const scale = numberScale(0, Math.max(...seen.next)), valueName = "probability of the next move";
      parts.draw((square) => ({ value: seen.next[square], valueName, scale }));
      keys.unshift(...scaleKeys(scale, valueName));
    } else {
      parts.draw();
    }
    legend.replaceChildren(...keys);
  }

  function drawMind() {
    const { position } = game, known = seen !== null;
    slider.value = stage();
    stageName.textContent = stage() === 0 ? "0: the embedding" : `${stage()}: after block ${stage()}`;
    small.forEach(({ board, button }, k) => {
      const reading = known ? readingOf(seen.boards[k], position, game.size) : null;
      board.draw(reading, position);
      const text = known ? `stage ${k}: ${reading.right} of ${reading.n} squares right` : `stage ${k}: nothing`;
      button.setAttribute("aria-label", text);
      button.title = text;
      button.setAttribute("aria-pressed", k === stage());
    });
    drawSummary(position, known);
    drawNext(position, known);
    drawFlip(position, known);
    drawFeatures(known);
  }

  function drawSummary(position, known) {
    if (!known) {
      summary.textContent = game.ply === 0 ? "It has read no move yet: play one."
        : "It never reads the last move of a full board: there is nothing left to predict.";
      return;
    }
    const { right, n, wrong, sure } = readingOf(seen.boards[stage()], position, game.size);
    const list = wrong.length ? ` Wrong: ${wrong.slice(0, 8).map(squareName).join(", ")}${wrong.length > 8 ? ", …" : ""}.` : "";
    summary.textContent = `Stage ${stage()} has ${right} of ${n} squares right, sure by ${percent(sure)} on average.${list}`;
  }

  function drawNext(position, known) {
    next.replaceChildren();
    nextText.textContent = "";
    if (!known) return;
    const order = [...parts.cells.keys()].sort((a, b) => seen.next[b] - seen.next[a]).slice(0, SHOWN_MOVES);
    const largest = seen.next[order[0]];
    for (const square of order) {
      const legal = position.legal.includes(square);
      const bar = element("span", { class: `oe-bar${legal ? "" : " oe-illegal"}`, "aria-hidden": "true" });
      bar.style.width = `${(100 * seen.next[square]) / largest}%`;
      const text = `${squareName(square)} ${percent(seen.next[square])}${legal ? "" : ", not legal"}`;
      next.append(element("li", {}, [
        element("span", { class: "oe-bar-text" }, [text]), element("span", { class: "oe-bar-room" }, [bar]),
      ]));
    }
    const mass = [...parts.cells.keys()].reduce((sum, at) => sum + (position.legal.includes(at) ? seen.next[at] : 0), 0);
    nextText.textContent = `On legal moves: ${percent(mass)}.` + (state("flip") ? " (With the disc turned over.)" : "");
  }

  function drawFlip(position, known) {
    const discs = [...parts.cells.keys()].filter((square) => position.board[square]);
    flip.replaceChildren(element("option", { value: "" }, ["none"]), ...discs.map((square) =>
      element("option", { value: squareName(square) }, [`${squareName(square)} (${PLAYERS[position.board[square]]})`])));
    flip.value = state("flip");
    flip.disabled = !known || !position.toMove;
    if (!known || !state("flip")) {
      flipped.textContent = "";
      return;
    }
    const changed = [...parts.cells.keys()].map((square) => [square, seen.next[square] - seen.before.next[square]])
      .sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).slice(0, 4);
    flipped.textContent = `From stage ${stage()} on, ${state("flip")} is read as the other colour. Moves that change most: `
      + changed.map(([square, by]) => `${squareName(square)} ${by < 0 ? "−" : "+"}${percent(Math.abs(by))}`).join(", ") + ".";
  }

  function drawFeatures(known) {
    features.replaceChildren();
    if (!known) return;
    for (const { feature, value } of seen.features[stage()]) {
      const open = element("details", {}, [element("summary", {}, [`feature ${feature}: ${value.toFixed(2)}`])]);
      open.ontoggle = () => open.open && showExamples(open, stage(), feature);
      features.append(open);
    }
  }

  // The boards that excite a feature most, when somebody wants to see them.
  async function showExamples(open, at, feature) {
    if (open.querySelector(".oe-examples")) return;
    const row = element("div", { class: "oe-examples" });
    open.append(row);
    try {
      for (const { moves, value } of (await mind.excites(at, feature)).slice(0, SHOWN_EXAMPLES)) {
        const example = believedBoard(game.size);
        example.draw(null, replay(moves, game.size).at(-1));
        const text = `feature ${feature} is ${value.toFixed(2)} after ${moves.length} moves, the last ${squareName(moves.at(-1))}`;
        const button = element("button", { type: "button", class: "oe-stage", title: `${text}. Go there.`, "aria-label": `${text}. Go there.` }, [
          example.root, element("span", {}, [value.toFixed(2)]),
        ]);
        button.onclick = () => change({ moves: transcript(moves), ply: moves.length, flip: "" });
        row.append(button);
      }
    } catch (error) {
      row.textContent = error.message;
    }
  }

  slider.oninput = () => change({ stage: Number(slider.value) });
  slider.onkeydown = (event) => event.stopPropagation();
  flip.onchange = () => change({ flip: flip.value });
  showNext.onchange = drawValues;

  let waiting = false;
  const soon = () => {
    if (waiting) return;
    waiting = true;
    queueMicrotask(() => { waiting = false; update(); });
  };
  for (const name of WATCHED) model.on(`change:${name}`, soon);
  drawValues();
  el.append(root);

  // A network of the kernel's is asked there; otherwise the page has the book's network beside it.
  const kernel = state("about").config && new KernelMind(model);
  if (kernel) begin(kernel);
  else {
    message.textContent = "Loading the network …";
    pageMind().then(begin, (error) => {
      message.textContent = `${capital(error.message)}. The board can be played on; what the network thinks cannot be shown.`;
    });
  }
  return () => {
    for (const name of WATCHED) model.off(`change:${name}`, soon);
    kernel?.close();
  };
}

export default { render };
