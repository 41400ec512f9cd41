// BoardWidget: a board to play on. Works with a kernel, which then knows the moves, and without one.

import { element, key, labelScale, numberScale, ownKeys, scaleKeys, swatch } from "./board.js";
import { kernelOf } from "./kernel.js";
import { squareName } from "./othello.js";
import { gameOf, makePlayable } from "./playable.js";

const WATCHED = ["moves", "ply", "drawn", "marks", "mark_name", "show_legal"];

export function render({ model, el }) {
  const kernel = kernelOf(model, "board");
  const game = gameOf({
    size: model.get("board_size"),
    read: () => ({ moves: model.get("moves"), ply: model.get("ply") }),
    write({ moves, ply }) {
      model.set("moves", moves);
      model.set("ply", ply);
      model.save_changes();
      kernel.look();
    },
  });
  const parts = makePlayable(game, { showLegal: () => model.get("show_legal") });
  const legal = element("input", { type: "checkbox" });
  legal.onchange = () => {
    model.set("show_legal", legal.checked);
    model.save_changes();
  };
  parts.moves.append(element("label", {}, [legal, "legal moves"]));
  const legend = element("div", { class: "oe-legend" });
  const root = element("div", { class: "oe-widget oe-play", role: "group", "aria-label": model.get("title") }, [
    element("p", { class: "oe-title", "aria-hidden": "true" }, [model.get("title")]),
    kernel.notice, parts.board, parts.controls, parts.slider, parts.status, parts.error, parts.moves, legend,
  ]);

  function draw() {
    const { values, limits, names, name: valueName } = model.get("drawn");
    const scale = names ? labelScale(names) : limits && numberScale(...limits);
    const marks = model.get("marks"), markName = model.get("mark_name");
    parts.draw((square) => ({
      marked: marks.includes(squareName(square)) && markName,
      value: values?.[square] ?? undefined, valueName, scale,
    }));
    legal.checked = model.get("show_legal");
    const keys = scale ? scaleKeys(scale, valueName) : [];
    if (marks.length) keys.push(key(swatch("oe-marked"), markName));
    keys.push(key(swatch("oe-last"), "played last"), key(swatch("oe-flipped"), "turned over"));
    if (legal.checked) keys.push(key(swatch("oe-legal"), "legal"));
    legend.replaceChildren(...keys);
  }

  // One drawing for several changes at once: the moves and the place come together.
  let waiting = false;
  const soon = () => {
    if (waiting) return;
    waiting = true;
    queueMicrotask(() => { waiting = false; draw(); });
  };
  for (const name of WATCHED) model.on(`change:${name}`, soon);
  draw();
  ownKeys(root);
  el.append(root);
  return () => {
    kernel.stop();
    for (const name of WATCHED) model.off(`change:${name}`, soon);
  };
}
