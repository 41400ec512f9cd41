// A LayerExplorer in a page of its own: no notebook and no widget manager. Its state is in the address, after #, so
// that a link leads to a position: #moves=f5d6&ply=2&stage=5&compare=1&flip=d5&drawing=next.

import { element } from "./board.js";
import { render } from "./layer_explorer.js";
import { parseSquare, parseTranscript, transcript } from "./othello.js";

const KEPT = { moves: "", ply: 0, stage: 8, compare: -1, flip: "", drawing: "" };
const WRITE_AFTER_MS = 250; // browsers refuse an address that changes all the time

// What an address says, checked; throws an Error for what is not a game or a place in it.
export function fromAddress(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, "")), found = { ...KEPT };
  found.moves = transcript(parseTranscript(given.get("moves") ?? ""));
  const whole = (name, low, high, otherwise) => {
    const text = given.get(name) ?? `${otherwise}`;
    if (!/^-?\d+$/.test(text) || Number(text) < low || Number(text) > high) throw new Error(`${name}=${text} is not a number from ${low} to ${high}`);
    return Number(text);
  };
  found.ply = whole("ply", 0, found.moves.length / 2, found.moves.length / 2);
  found.stage = whole("stage", 0, 8, KEPT.stage);
  found.compare = whole("compare", -1, 8, KEPT.compare);
  found.flip = given.get("flip") ?? "";
  if (found.flip && parseSquare(found.flip) < 0) throw new Error(`flip=${found.flip} is not a square`);
  found.drawing = given.get("drawing") ?? "";
  if (!["", "next", "paper", "proven", "refuted"].includes(found.drawing)) throw new Error(`drawing=${found.drawing} is not known`);
  return found;
}

export function toAddress(state) {
  const changed = Object.keys(KEPT).filter((name) => state[name] !== KEPT[name] && !(name === "ply" && state.ply === state.moves.length / 2));
  return `#${new URLSearchParams(changed.map((name) => [name, state[name]]))}`;
}

// A stand-in for the model that a widget manager would give.
export function mount(el, start) {
  const state = { ...KEPT, ...start, board_size: 8, about: {}, given: {}, title: "What the network believes" };
  const listeners = {}, trouble = element("p", { class: "oe-error", role: "alert" });
  let timer = null;
  const model = {
    get: (name) => state[name],
    set(name, value) {
      if (state[name] === value) return;
      state[name] = value;
      for (const listener of [...(listeners[`change:${name}`] ?? [])]) listener();
    },
    save_changes() {
      clearTimeout(timer);
      timer = setTimeout(() => history.replaceState(history.state, "", toAddress(state)), WRITE_AFTER_MS);
    },
    on: (name, listener) => (listeners[name] ??= []).push(listener),
    off: (name, listener) => { listeners[name] = listeners[name].filter((other) => other !== listener); },
  };
  const read = () => {
    if (location.hash.length < 2 || !location.hash.includes("=")) return; // an anchor of the page is not ours
    clearTimeout(timer);
    try {
      for (const [name, value] of Object.entries(fromAddress(location.hash))) model.set(name, value);
      trouble.textContent = "";
    } catch (error) {
      trouble.textContent = `The address of this page does not lead to a position: ${error.message}.`;
    }
  };
  read();
  window.addEventListener("hashchange", () => {
    read();
    if (location.hash.includes("=")) el.scrollIntoView({ block: "start" }); // the link may stand far below
  });
  el.append(trouble);
  return render({ model, el });
}
