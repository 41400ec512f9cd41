// LayerExplorer: play a game, and see layer by layer the board that a probe reads from a network, the moves it would
// play, and the features that are active.

import { backendOf } from "./backends.js";
import { capitalize, captureKeys, element, legendEntry, numberScale, scaleLegend, swatch } from "./board.js";
import { connectKernel } from "./kernel.js";
import { parseSquare, squareName, transcript, whyNoFlip } from "./othello.js";
import { discToFlip, nextMoves, percent, stageName, strongestFeatures } from "./panels.js";
import { createGame, makePlayable } from "./playable.js";
import { decodeBoard, largeBoard, smallBoard } from "./probe_boards.js";
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
    text: `not stable: turned over in one of ${PLAYOUTS} games played on`, name: "shown to be turned over",
    mask: (position) => refuted(position, PLAYOUTS, 0),
  },
};

export function render({ model, el }) {
  const connection = connectKernel(model, "explorer");
  const state = (name) => model.get(name);
  const change = (changes) => {
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    model.save_changes();
    connection.check();
  };
  const game = createGame({
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
  const largeBoards = [0, 1].map(() => {
    const board = largeBoard(game.size, "The board as this stage has it"), caption = element("figcaption");
    return { board, caption, root: element("figure", { class: "oe-believed" }, [caption, board.root]) };
  });
  const summary = element("p", { class: "oe-summary", role: "status", "aria-live": "polite" });
  const next = nextMoves(squares), flip = discToFlip(squares);
  const features = strongestFeatures(game.size, (stage, feature) => backend.topExamples(stage, feature),
    (moves) => change({ moves: transcript(moves), ply: moves.length, flip: "" }));
  const section = (name, nodes) => element("section", { "aria-label": name }, [element("p", { class: "oe-part" }, [name]), ...nodes]);
  const networkSide = element("div", { class: "oe-explorer-mind" }, [
    message,
    section("The board that it believes in", [
      strip,
      element("div", { class: "oe-moves" }, [
        element("label", {}, ["stage", slider]), sliderText, element("label", {}, ["compare with", compare]),
      ]),
      element("div", { class: "oe-pair" }, largeBoards.map(({ root }) => root)), summary,
    ]),
    section("The moves that it would play", next.nodes),
    section("Turn over a disc in its mind", flip.nodes),
    section("The features that fire most", features.nodes),
  ]);
  const root = element("div", { class: "oe-widget oe-explorer", role: "group", "aria-label": state("title") }, [
    element("p", { class: "oe-title", "aria-hidden": "true" }, [state("title")]),
    connection.notice,
    element("div", { class: "oe-columns" }, [boardSide, networkSide]),
  ]);

  // shown: what the backend gave for the position, or null; then whyNothing says why.
  let backend = null, shown = null, whyNothing = "Nothing has been read yet: the network is being loaded.";
  let lastRequest = 0, stageBoards = [], removed = false;
  const stage = () => Math.min(state("stage"), stageBoards.length - 1);

  // A small board for each stage; made before the network is there, so that the page does not jump when it comes.
  function makeStages(n) {
    if (n === stageBoards.length) return;
    slider.max = n - 1;
    stageBoards = Array.from({ length: n }, (_, k) => {
      const board = smallBoard(game.size);
      const button = element("button", { type: "button", class: "oe-stage" }, [board.root, element("span", {}, [`${k}`])]);
      button.onclick = () => change({ stage: k });
      return { board, button };
    });
    strip.replaceChildren(...stageBoards.map(({ button }) => button));
    compare.replaceChildren(element("option", { value: -1 }, ["none"]), ...stageBoards.map((_, k) => element("option", { value: k }, [`stage ${k}`])));
  }

  function connect(loaded) {
    if (removed) return loaded.close?.();
    backend = loaded;
    backend.onResponsive = update;
    makeStages(backend.stages);
    const ownGames = state("about").library ?? [], games = ownGames.length ? ownGames : backend.about.library ?? [];
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

  // Runs the backend on the position, and draws what it gives unless the position has changed meanwhile.
  async function update() {
    drawBoard(null); // at once, without the probabilities of the position before
    if (!backend) return drawNetwork();
    const number = (lastRequest += 1), moves = game.moves;
    let result = null, problem = "";
    const whyUnavailable = backend.whyUnavailable(moves);
    if (!whyUnavailable) {
      try {
        const edit = editOf(state("flip"));
        result = await backend.run(moves, edit ?? undefined);
        result = { ...result, edit: backend.readOnly ? null : edit, unedited: edit ? await backend.run(moves) : result };
      } catch (error) {
        problem = error.message;
      }
    }
    if (number !== lastRequest) return;
    shown = result;
    whyNothing = whyUnavailable || `Nothing has been read here: ${problem}.`;
    message.textContent = problem;
    drawNetwork();
    drawBoard(shown);
  }

  // "d3" or "": the disc of that square, turned over from the chosen stage on; null where there is none.
  function editOf(name) {
    if (!name || whyNoFlip(game.position, name)) return null;
    const square = parseSquare(name), { board, toMove } = game.position;
    return { square, to: board[square] === toMove ? 2 : 1, from: stage() };
  }

  // The true board, and on it what is wanted: probabilities of the next move, or the discs of a mask.
  function drawBoard(result) {
    const { mask, name } = DRAWINGS[state("drawing")], valueName = "probability of the next move";
    drawing.value = state("drawing");
    const entries = [legendEntry(swatch("oe-last"), "played last"), legendEntry(swatch("oe-flipped"), "turned over"), legendEntry(swatch("oe-legal"), "legal")];
    if (mask) {
      const marked = mask(game.position), n = squares.reduce((sum, square) => sum + (marked[square] ? 1 : 0), 0);
      entries.unshift(legendEntry(swatch("oe-marked"), `${name} (${n})`));
      parts.draw((square) => ({ marked: Boolean(marked[square]) && name }));
    } else if (state("drawing") === "next" && result?.next) {
      const scale = numberScale(0, Math.max(...result.next));
      entries.unshift(...scaleLegend(scale, valueName));
      parts.draw((square) => ({ value: result.next[square], valueName, scale }));
    } else {
      parts.draw();
    }
    legend.replaceChildren(...entries);
  }

  function drawNetwork() {
    const { position } = game, chosen = stage();
    const editAt = (k) => (shown.edit && k >= shown.edit.from ? shown.edit : null);
    const boards = stageBoards.map((_, k) => (shown ? decodeBoard(shown.boards[k], position, game.size, editAt(k)) : null));
    slider.value = chosen;
    slider.setAttribute("aria-valuetext", stageName(chosen));
    sliderText.textContent = stageName(chosen);
    stageBoards.forEach(({ board, button }, k) => {
      const text = shown ? `stage ${k}: ${boards[k].nRight} of ${boards[k].nJudged} squares right` : `stage ${k}: nothing`;
      board.draw(boards[k], shown && position);
      button.setAttribute("aria-label", text);
      button.title = text;
      button.setAttribute("aria-pressed", k === chosen);
    });
    const second = state("compare") < stageBoards.length ? state("compare") : -1;
    compare.value = second;
    [chosen, second].forEach((k, at) => {
      const { board, caption, root: figure } = largeBoards[at], other = second < 0 ? null : boards[at ? chosen : second];
      figure.hidden = k < 0;
      if (k < 0) return;
      caption.textContent = capitalize(stageName(k));
      board.root.setAttribute("aria-label", `The board as stage ${k} has it`);
      board.draw(boards[k], position, other);
    });
    summary.textContent = shown ? [chosen, second].filter((k) => k >= 0).map((k) => describeStage(k, boards[k])).join(" ") : whyNothing;
    next.draw(shown ? shown.next : undefined, position, shown?.edit);
    const whyDisabled = !shown ? " " : backend.readOnly ? "Nothing can be turned over: the network itself is not here." : position.toMove ? "" : "The game is over.";
    flip.draw(shown?.edit ? squareName(shown.edit.square) : "", position, shown?.edit && outcomeOf(shown.edit, boards), shown?.next, shown?.unedited.next, whyDisabled);
    features.draw(shown?.features, chosen);
  }

  // What came of turning a disc over, as `discToFlip` says it; boards: those after the push.
  function outcomeOf({ square, from }, boards) {
    const stages = [...boards.keys()].slice(from), before = (k) => decodeBoard(shown.unedited.boards[k], game.position, game.size);
    return {
      from, along: backend.about.along, n: stages.length,
      nRead: stages.filter((k) => boards[k].edited === square).length,
      misread: stages.filter((k) => before(k).wrong.includes(square)),
    };
  }

  function describeStage(k, { nRight, nJudged, wrong, edited, meanCertainty }) {
    const more = wrong.length > 8 ? ` and ${wrong.length - 8} more` : "";
    const list = wrong.length ? ` Wrong: ${wrong.slice(0, 8).map(squareName).join(", ")}${more}.` : "";
    return `Stage ${k} has ${nRight} of ${nJudged} squares right, sure by ${percent(meanCertainty)} on average.${edited === null ? "" : ` Turned over: ${squareName(edited)}.`}${list}`;
  }

  slider.oninput = () => change({ stage: Number(slider.value) });
  compare.onchange = () => change({ compare: Number(compare.value) });
  flip.choice.onchange = () => change({ flip: flip.choice.value });
  drawing.onchange = () => change({ drawing: drawing.value });

  // One drawing for several changes at once: the moves and the place come together.
  let scheduled = false;
  const scheduleUpdate = () => {
    if (scheduled) return;
    scheduled = true;
    queueMicrotask(() => { scheduled = false; update(); });
  };
  for (const name of WATCHED) model.on(`change:${name}`, scheduleUpdate);
  makeStages(state("about").config ? state("about").config.n_layer + 1 : state("given").stages ?? BOOK_STAGES);
  update();
  captureKeys(root);
  el.append(root);
  performance.mark("explorer-playable");
  message.textContent = "Loading the network …";
  backendOf(model, connection).then(connect, (error) => {
    message.textContent = `${capitalize(error.message)}. The board can be played on; what the network thinks cannot be shown.`;
    whyNothing = "Nothing can be read: the network is not here.";
    drawNetwork();
  });
  return () => {
    removed = true;
    connection.stop();
    for (const name of WATCHED) model.off(`change:${name}`, scheduleUpdate);
    backend?.close?.();
  };
}
