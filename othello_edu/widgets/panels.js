// The parts of a LayerExplorer that say what the network has: each is made once, and `draw` fills it.

import { element } from "./board.js";
import { smallBoard } from "./probe_boards.js";
import { parseSquare, PLAYERS, replay, squareName } from "./othello.js";

const SHOWN_MOVES = 8, SHOWN_CHANGES = 4, SHOWN_EXAMPLES = 4;
export const percent = (p) => (p >= 0.9995 ? "100%" : p < 0.0005 ? "0%" : `${(100 * p).toFixed(p < 0.1 ? 1 : 0)}%`);
const liveParagraph = () => element("p", { class: "oe-summary", role: "status", "aria-live": "polite" });

export const stageName = (stage) => (stage === 0 ? "stage 0: the embedding" : `stage ${stage}: after block ${stage}`);

// The likeliest next moves as bars; those that are not legal are hatched, and said to be.
export function nextMoves(squares) {
  const list = element("ol", { class: "oe-next" }), text = element("p", { class: "oe-summary" });
  return {
    nodes: [list, text],
    draw(next, position, edited) {
      list.replaceChildren();
      text.textContent = next === null ? "No probabilities came with these boards." : "";
      if (!next) return;
      const order = [...squares].sort((a, b) => next[b] - next[a]).slice(0, SHOWN_MOVES);
      for (const square of order) {
        const legal = position.legal.includes(square);
        const bar = element("span", { class: `oe-bar${legal ? "" : " oe-illegal"}`, "aria-hidden": "true" });
        bar.style.width = `${(100 * next[square]) / next[order[0]]}%`;
        list.append(element("li", {}, [
          element("span", { class: "oe-bar-text" }, [`${squareName(square)} ${percent(next[square])}${legal ? "" : ", not legal"}`]),
          element("span", { class: "oe-bar-room" }, [bar]),
        ]));
      }
      const mass = position.legal.reduce((sum, square) => sum + next[square], 0);
      text.textContent = `On legal moves: ${percent(mass)}.${edited ? " (With the disc turned over.)" : ""}`;
    },
  };
}

// The choice of a disc to turn over, and the moves that change most when it is.
export function discToFlip(squares) {
  const choice = element("select", { "aria-label": "A disc to turn over in the network's mind" }), text = liveParagraph();
  return {
    choice,
    nodes: [element("div", { class: "oe-moves" }, [choice]), text],
    // flip: the name of a square, or "". push: what came of it, {from, along, n, nRead, misread}: of the n stages from
    // `from` on, at nRead the probe now reads the other colour, and at those in `misread` it was wrong before the push.
    // whyDisabled: why nothing can be turned over, or "".
    draw(flip, position, push, next, before, whyDisabled) {
      const discs = [...squares].filter((square) => position.board[square]);
      choice.replaceChildren(element("option", { value: "" }, ["none"]), ...discs.map((square) =>
        element("option", { value: squareName(square) }, [`${squareName(square)} (${PLAYERS[position.board[square]]})`])));
      choice.value = flip;
      choice.disabled = Boolean(whyDisabled);
      text.textContent = whyDisabled;
      if (whyDisabled || !flip || !next) return;
      const largest = [...squares].map((square) => [square, next[square] - before[square]])
        .sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).slice(0, SHOWN_CHANGES)
        .map(([square, gain]) => `${squareName(square)} ${gain < 0 ? "−" : "+"}${percent(Math.abs(gain))}`);
      const { from, along, n, nRead, misread } = push, colour = PLAYERS[3 - position.board[parseSquare(flip)]];
      const warning = misread.length ? ` Careful: before the push, the probe reads ${flip} wrongly at ${misread.length > 1 ? "stages" : "stage"} ${misread.join(", ")}.` : "";
      text.textContent = `Pushed along its ${along} direction from stage ${from} on, ${flip} is read as ${colour} at ${nRead} of ${n} stages.${warning} Moves that change most: ${largest.join(", ")}.`;
    },
  };
}

// The features that fire most; each opens to show the positions at which it is most active. topExamples(stage,
// feature): a promise of these, [{moves, value}]; goTo(moves): called with the one that is chosen.
export function strongestFeatures(size, topExamples, goTo) {
  const root = element("div", { class: "oe-features" });
  const opened = new Set(); // features that a reader has opened: they stay open when they are drawn anew
  async function show(details, stage, feature) {
    if (details.querySelector(".oe-examples")) return;
    const row = element("div", { class: "oe-examples" });
    details.append(row);
    try {
      const examples = (await topExamples(stage, feature)).slice(0, SHOWN_EXAMPLES);
      if (!examples.length) row.textContent = "No positions to look for it in came with this network.";
      for (const { moves, value } of examples) {
        const board = smallBoard(size);
        board.draw(null, replay(moves, size).at(-1));
        const text = `feature ${feature} is ${value.toFixed(2)} after ${moves.length} moves, the last ${squareName(moves.at(-1))}. Go there.`;
        const button = element("button", { type: "button", class: "oe-stage", title: text, "aria-label": text }, [
          board.root, element("span", {}, [value.toFixed(2)]),
        ]);
        button.onclick = () => goTo(moves);
        row.append(button);
      }
    } catch (error) {
      row.textContent = error.message;
    }
  }
  return {
    nodes: [root],
    // features: undefined where nothing has been read.
    draw(features, stage) {
      root.replaceChildren();
      if (features === undefined) return;
      if (features === null) root.append(element("p", { class: "oe-summary" }, ["No features came with this network."]));
      else if (!features[stage]?.length) root.append(element("p", { class: "oe-summary" }, ["No feature fires at this stage, or none is known."]));
      for (const { feature, value } of features?.[stage] ?? []) {
        const name = `${stage}/${feature}`;
        const details = element("details", {}, [element("summary", {}, [`feature ${feature}: ${value.toFixed(2)}`])]);
        details.ontoggle = () => {
          if (!details.isConnected) return;
          if (!details.open) opened.delete(name);
          else {
            opened.add(name);
            show(details, stage, feature);
          }
        };
        details.open = opened.has(name);
        root.append(details);
      }
    },
  };
}
