// A LayerExplorer in a page of its own: no notebook and no widget manager. Its state is in the address, after #, so
// that a link leads to a position: #moves=f5d6&ply=2&stage=5&compare=1&flip=d5&drawing=next. Where a page has
// several, an address begins with the number of the one that it means, from the second on: #explorer=2&moves=f5.

import { element } from "./board.js";
import { render } from "./layer_explorer.js";
import { parseTranscript, replay, transcript, whyNoFlip } from "./othello.js";

const DEFAULTS = { moves: "", ply: 0, stage: 8, compare: -1, flip: "", drawing: "" };
const WRITE_AFTER_MS = 250; // browsers refuse an address that changes all the time
const MAX_LENGTH = 1500, MAX_QUOTED = 20; // characters: a game of 60 moves with their numbers has some 700

const quoted = (text) => (text.length > MAX_QUOTED ? `${text.slice(0, MAX_QUOTED)}…` : text);

// Which explorer of the page an address means, or 0 where it means none of them.
const addressedExplorer = (hash) => (hash.includes("=") ? Number(new URLSearchParams(hash.slice(1, MAX_LENGTH)).get("explorer") ?? 1) : 0);

// The state that an address leads to; throws an Error for what is not a game or a place in it.
export function fromAddress(hash) {
  if (hash.length > MAX_LENGTH) throw new Error(`it has ${hash.length} characters, and no position needs more than ${MAX_LENGTH}`);
  const parameters = new URLSearchParams(hash.replace(/^#/, "")), state = { ...DEFAULTS };
  state.moves = transcript(parseTranscript(parameters.get("moves") ?? ""));
  const integer = (name, low, high, byDefault) => {
    const text = parameters.get(name) ?? `${byDefault}`;
    if (!/^-?\d+$/.test(text) || Number(text) < low || Number(text) > high) throw new Error(`${name}=${quoted(text)} is not a number from ${low} to ${high}`);
    return Number(text);
  };
  state.ply = integer("ply", 0, state.moves.length / 2, state.moves.length / 2);
  state.stage = integer("stage", 0, 8, DEFAULTS.stage);
  state.compare = integer("compare", -1, 8, DEFAULTS.compare);
  state.flip = parameters.get("flip") ?? "";
  const position = replay(parseTranscript(parameters.get("moves") ?? ""))[state.ply];
  const whyNot = state.flip && whyNoFlip(position, state.flip);
  if (whyNot) throw new Error(`flip=${quoted(state.flip)} after ${state.ply} moves: ${whyNot}`);
  state.drawing = parameters.get("drawing") ?? "";
  if (!["", "next", "paper", "proven", "refuted"].includes(state.drawing)) throw new Error(`drawing=${quoted(state.drawing)} is not known`);
  return state;
}

// The address of a state. It always has the moves: without any it would lead to where the page begins.
export function toAddress(state, explorer = 1) {
  const defaults = { ...DEFAULTS, moves: null, ply: state.moves.length / 2 };
  const changed = Object.keys(DEFAULTS).filter((name) => state[name] !== defaults[name]).map((name) => [name, state[name]]);
  return `#${new URLSearchParams(explorer > 1 ? [["explorer", explorer], ...changed] : changed)}`;
}

// A stand-in for the model that a widget manager would give. explorer: which one of the page this is, from 1.
export function mount(el, start, explorer) {
  const state = { ...DEFAULTS, ...start, board_size: 8, about: {}, given: {}, title: "What the network believes" };
  const listeners = {}, problem = element("p", { class: "oe-error", role: "alert" });
  let timer = null;
  const model = {
    get: (name) => state[name],
    set(name, value) {
      if (state[name] === value) return;
      state[name] = value;
      for (const listener of (listeners[`change:${name}`] ?? []).slice()) listener(); // one may remove itself
    },
    save_changes() {
      clearTimeout(timer);
      timer = setTimeout(() => history.replaceState(history.state, "", toAddress(state, explorer)), WRITE_AFTER_MS);
    },
    on: (name, listener) => (listeners[name] ??= []).push(listener),
    off: (name, listener) => { listeners[name] = listeners[name].filter((other) => other !== listener); },
  };
  const readAddress = () => {
    if (addressedExplorer(location.hash) !== explorer) return; // nor is an anchor of the page ours
    clearTimeout(timer);
    try {
      for (const [name, value] of Object.entries(fromAddress(location.hash))) model.set(name, value);
      problem.textContent = "";
    } catch (error) {
      problem.textContent = `The address of this page does not lead to a position: ${error.message}.`;
    }
  };
  readAddress();
  window.addEventListener("hashchange", () => {
    readAddress();
    if (addressedExplorer(location.hash) === explorer) el.scrollIntoView({ block: "start" }); // the link may stand far below
  });
  el.append(problem);
  return render({ model, el });
}
