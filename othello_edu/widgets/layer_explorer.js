// LayerExplorer: play a game, and see layer by layer the board that a network believes in, the moves it would
// play, and the features that fire.

import { capital, element, key, numberScale, ownKeys, scaleKeys, swatch } from "./board.js";
import { believedBoard, believedTable, readingOf } from "./believed.js";
import { kernelOf } from "./kernel.js";
import { mindOf } from "./mind.js";
import { parseSquare, squareName, transcript, whyNoFlip } from "./othello.js";
import { discToFlip, nextMoves, percent, stageName, strongestFeatures } from "./panels.js";
import { gameOf, makePlayable } from "./playable.js";
import { refuted, stablePaper, stableSound } from "./stability.js";

const WATCHED = ["moves", "ply", "stage", "compare", "flip", "drawing"];
const PLAYOUTS = 40, BOOK_STAGES = 9;
// What can be drawn on the true board: the network's next move, or one of the three notions of stability.
const DRAWINGS = {
  "": { text: "the position alone" },
  next: { text: "the network's next move" },
  paper: { text: "stable by the paper's rule", name: "stable by the paper's rule", mask: ({ board, size }) => stablePaper(board, size) },
  proven: { text: "proven stable", name: "proven stable", mask: ({ board, size }) => stableSound(board, size) },
  refuted: {
    text: `not stable: turned over in one of ${PLAYOUTS} games played on`, name: "seen to be turned over",
    mask: (position) => refuted(position, PLAYOUTS, 0),
  },
};

export function render({ model, el }) {
  const kernel = kernelOf(model, "explorer");
  const state = (name) => model.get(name);
  const change = (changes) => {
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    model.save_changes();
    kernel.look();
  };
  const game = gameOf({
    size: state("board_size"),
    read: () => ({ moves: state("moves"), ply: state("ply") }),
    write: ({ moves, ply }) => change({ moves, ply, flip: "" }),
  });
  const parts = makePlayable(game), squares = [...parts.cells.keys()];

  const drawing = element("select", {}, Object.entries(DRAWINGS).map(([value, { text }]) => element("option", { value }, [text])));
  const library = element("select", { "aria-label": "A game to begin with" }, [element("option", { value: "" }, ["choose a game …"])]);
  library.hidden = !state("about").library?.length && Boolean(state("about").config ?? state("given").stages);
  const legend = element("div", { class: "oe-legend" });
  const boardSide = element("div", { class: "oe-explorer-board" }, [
    library, parts.board, parts.controls, parts.slider, parts.status, parts.error, parts.moves,
    element("label", { class: "oe-moves" }, ["on the board:", drawing]), legend,
  ]);

  const message = element("p", { class: "oe-error", role: "alert" });
  const strip = element("div", { class: "oe-stages", role: "group", "aria-label": "The board as each stage has it" });
  const slider = element("input", { type: "range", min: 0, step: 1, "aria-label": "Stage" });
  const sliderText = element("span", { class: "oe-stage-name" });
  const compare = element("select", {});
  const large = [0, 1].map(() => {
    const board = believedTable(game.size, "The board as this stage has it"), caption = element("figcaption");
    return { board, caption, root: element("figure", { class: "oe-believed" }, [caption, board.root]) };
  });
  const summary = element("p", { class: "oe-summary", role: "status", "aria-live": "polite" });
  const next = nextMoves(squares), flip = discToFlip(squares);
  const features = strongestFeatures(game.size, (stage, feature) => mind.excites(stage, feature),
    (moves) => change({ moves: transcript(moves), ply: moves.length, flip: "" }));
  const section = (name, nodes) => element("section", { "aria-label": name }, [element("p", { class: "oe-part" }, [name]), ...nodes]);
  const networkSide = element("div", { class: "oe-explorer-mind" }, [
    message,
    section("The board that it believes in", [
      strip,
      element("div", { class: "oe-moves" }, [
        element("label", {}, ["stage", slider]), sliderText, element("label", {}, ["compare with", compare]),
      ]),
      element("div", { class: "oe-pair" }, large.map(({ root }) => root)), summary,
    ]),
    section("The moves that it would play", next.nodes),
    section("Turn over a disc in its mind", flip.nodes),
    section("The features that fire most", features.nodes),
  ]);
  const root = element("div", { class: "oe-widget oe-explorer", role: "group", "aria-label": state("title") }, [
    element("p", { class: "oe-title", "aria-hidden": "true" }, [state("title")]),
    kernel.notice,
    element("div", { class: "oe-columns" }, [boardSide, networkSide]),
  ]);

  let mind = null, seen = null, why = "Nothing has been read yet: the network is being loaded.", asked = 0, small = [], gone = false;
  const stage = () => Math.min(state("stage"), small.length - 1);

  // A small board for each stage; made before the network is there, so that the page does not jump when it comes.
  function makeStages(n) {
    if (n === small.length) return;
    slider.max = n - 1;
    small = Array.from({ length: n }, (_, k) => {
      const board = believedBoard(game.size);
      const button = element("button", { type: "button", class: "oe-stage" }, [board.root, element("span", {}, [`${k}`])]);
      button.onclick = () => change({ stage: k });
      return { board, button };
    });
    strip.replaceChildren(...small.map(({ button }) => button));
    compare.replaceChildren(element("option", { value: -1 }, ["none"]), ...small.map((_, k) => element("option", { value: k }, [`stage ${k}`])));
  }

  function begin(found) {
    if (gone) return found.close?.();
    mind = found;
    mind.woke = update;
    makeStages(mind.stages);
    const own = state("about").library ?? [], games = own.length ? own : mind.about.library ?? [];
    library.append(...games.map(({ name }, at) => element("option", { value: at }, [name])));
    library.hidden = !games.length;
    library.onchange = () => {
      if (library.value === "") return;
      const { moves, ply } = games[library.value];
      change({ moves, ply: ply ?? moves.length / 2, flip: "" });
      library.value = "";
    };
    return update();
  }

  // Ask the mind about the position, and draw what it says unless the position has changed meanwhile.
  async function update() {
    drawBoard(null); // at once, without the probabilities of the position before
    if (!mind) return drawMind();
    const number = (asked += 1), moves = game.moves;
    let found = null, problem = "";
    const refusal = mind.refusal(moves);
    if (!refusal) {
      try {
        const edit = editOf(state("flip"));
        found = await mind.look(moves, edit ?? undefined);
        found = { ...found, edit: mind.fixed ? null : edit, before: edit ? await mind.look(moves) : found };
      } catch (error) {
        problem = error.message;
      }
    }
    if (number !== asked) return;
    seen = found;
    why = refusal || `Nothing has been read here: ${problem}.`;
    message.textContent = problem;
    drawMind();
    drawBoard(seen);
  }

  // "d3" or "": the disc of that square, turned over from the chosen stage on; null where there is none.
  function editOf(name) {
    if (!name || whyNoFlip(game.position, name)) return null;
    const square = parseSquare(name), { board, toMove } = game.position;
    return { square, to: board[square] === toMove ? 2 : 1, from: stage() };
  }

  // The true board, and on it what is wanted: probabilities of the next move, or the discs of a mask.
  function drawBoard(known) {
    const { mask, name } = DRAWINGS[state("drawing")], valueName = "probability of the next move";
    drawing.value = state("drawing");
    const keys = [key(swatch("oe-last"), "played last"), key(swatch("oe-flipped"), "turned over"), key(swatch("oe-legal"), "legal")];
    if (mask) {
      const marked = mask(game.position), n = squares.reduce((sum, square) => sum + (marked[square] ? 1 : 0), 0);
      keys.unshift(key(swatch("oe-marked"), `${name} (${n})`));
      parts.draw((square) => ({ marked: Boolean(marked[square]) && name }));
    } else if (state("drawing") === "next" && known?.next) {
      const scale = numberScale(0, Math.max(...known.next));
      keys.unshift(...scaleKeys(scale, valueName));
      parts.draw((square) => ({ value: known.next[square], valueName, scale }));
    } else {
      parts.draw();
    }
    legend.replaceChildren(...keys);
  }

  function drawMind() {
    const { position } = game, chosen = stage();
    const editAt = (k) => (seen.edit && k >= seen.edit.from ? seen.edit : null);
    const readings = small.map((_, k) => (seen ? readingOf(seen.boards[k], position, game.size, editAt(k)) : null));
    slider.value = chosen;
    slider.setAttribute("aria-valuetext", stageName(chosen));
    sliderText.textContent = stageName(chosen);
    small.forEach(({ board, button }, k) => {
      const text = seen ? `stage ${k}: ${readings[k].right} of ${readings[k].n} squares right` : `stage ${k}: nothing`;
      board.draw(readings[k], seen && position);
      button.setAttribute("aria-label", text);
      button.title = text;
      button.setAttribute("aria-pressed", k === chosen);
    });
    const second = state("compare") < small.length ? state("compare") : -1;
    compare.value = second;
    [chosen, second].forEach((k, at) => {
      const { board, caption, root: figure } = large[at], other = second < 0 ? null : readings[at ? chosen : second];
      figure.hidden = k < 0;
      if (k < 0) return;
      caption.textContent = capital(stageName(k));
      board.root.setAttribute("aria-label", `The board as stage ${k} has it`);
      board.draw(readings[k], position, other);
    });
    summary.textContent = seen ? [chosen, second].filter((k) => k >= 0).map((k) => sentence(k, readings[k])).join(" ") : why;
    next.draw(seen ? seen.next : undefined, position, seen?.edit);
    const fixed = !seen ? " " : mind.fixed ? "Nothing can be turned over: the network itself is not here." : position.toMove ? "" : "The game is over.";
    flip.draw(seen?.edit ? squareName(seen.edit.square) : "", position, chosen, seen?.next, seen?.before.next, fixed);
    features.draw(seen?.features, chosen);
  }

  function sentence(k, { right, n, wrong, edited, sure }) {
    const more = wrong.length > 8 ? ` and ${wrong.length - 8} more` : "";
    const list = wrong.length ? ` Wrong: ${wrong.slice(0, 8).map(squareName).join(", ")}${more}.` : "";
    return `Stage ${k} has ${right} of ${n} squares right, sure by ${percent(sure)} on average.${edited === null ? "" : ` Turned over: ${squareName(edited)}.`}${list}`;
  }

  slider.oninput = () => change({ stage: Number(slider.value) });
  compare.onchange = () => change({ compare: Number(compare.value) });
  flip.choice.onchange = () => change({ flip: flip.choice.value });
  drawing.onchange = () => change({ drawing: drawing.value });

  // One drawing for several changes at once: the moves and the place come together.
  let waiting = false;
  const soon = () => {
    if (waiting) return;
    waiting = true;
    queueMicrotask(() => { waiting = false; update(); });
  };
  for (const name of WATCHED) model.on(`change:${name}`, soon);
  makeStages(state("about").config ? state("about").config.n_layer + 1 : state("given").stages ?? BOOK_STAGES);
  update();
  ownKeys(root);
  el.append(root);
  performance.mark("explorer-playable");
  message.textContent = "Loading the network …";
  mindOf(model, kernel).then(begin, (error) => {
    message.textContent = `${capital(error.message)}. The board can be played on; what the network thinks cannot be shown.`;
    why = "Nothing can be read: the network is not here.";
    drawMind();
  });
  return () => {
    gone = true;
    kernel.stop();
    for (const name of WATCHED) model.off(`change:${name}`, soon);
    mind?.close?.();
  };
}
