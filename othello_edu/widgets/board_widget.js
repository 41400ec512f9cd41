// BoardWidget: a board to play on. Works with a kernel, which then knows the moves, and without one.

import { captureKeys, element, labelScale, legendEntry, numberScale, scaleLegend, swatch } from "./board.js";
import { connectKernel } from "./kernel.js";
import { squareName } from "./othello.js";
import { createGame, makePlayable } from "./playable.js";

const WATCHED = ["moves", "ply", "drawn", "marks", "mark_name", "show_legal"];

export function render({ model, el }) {
  const connection = connectKernel(model, "board");
  const game = createGame({
    size: model.get("board_size"),
    read: () => ({ moves: model.get("moves"), ply: model.get("ply") }),
    write({ moves, ply }) {
      model.set("moves", moves);
      model.set("ply", ply);
      model.save_changes();
      connection.check();
    },
  });
  const parts = makePlayable(game, { showLegal: () => model.get("show_legal") });
  const legalBox = element("input", { type: "checkbox" });
  legalBox.onchange = () => {
    model.set("show_legal", legalBox.checked);
    model.save_changes();
  };
  parts.moves.append(element("label", {}, [legalBox, "legal moves"]));
  const legend = element("div", { class: "oe-legend" });
  const root = element("div", { class: "oe-widget oe-play", role: "group", "aria-label": model.get("title") }, [
    element("p", { class: "oe-title", "aria-hidden": "true" }, [model.get("title")]),
    connection.notice, parts.board, parts.controls, parts.slider, parts.status, parts.error, parts.moves, legend,
  ]);

  function draw() {
    const { values, limits, names, name: valueName } = model.get("drawn");
    const scale = names ? labelScale(names) : limits && numberScale(...limits);
    const marks = model.get("marks"), markName = model.get("mark_name");
    parts.draw((square) => ({
      marked: marks.includes(squareName(square)) && markName,
      value: values?.[square] ?? undefined, valueName, scale,
    }));
    legalBox.checked = model.get("show_legal");
    const entries = scale ? scaleLegend(scale, valueName) : [];
    if (marks.length) entries.push(legendEntry(swatch("oe-marked"), markName));
    entries.push(legendEntry(swatch("oe-last"), "played last"), legendEntry(swatch("oe-flipped"), "turned over"));
    if (legalBox.checked) entries.push(legendEntry(swatch("oe-legal"), "legal"));
    legend.replaceChildren(...entries);
  }

  // One drawing for several changes at once: the moves and the place come together.
  let scheduled = false;
  const scheduleDraw = () => {
    if (scheduled) return;
    scheduled = true;
    queueMicrotask(() => { scheduled = false; draw(); });
  };
  for (const name of WATCHED) model.on(`change:${name}`, scheduleDraw);
  draw();
  captureKeys(root);
  el.append(root);
  return () => {
    connection.stop();
    for (const name of WATCHED) model.off(`change:${name}`, scheduleDraw);
  };
}
