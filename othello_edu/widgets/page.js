// A LayerExplorer in a page of its own: no notebook and no widget manager. Its state is in the address, after #, so
// that a link leads to a position: #moves=f5d6&ply=2&stage=5&compare=1&flip=d5&drawing=next. Where a page has
// several, an address begins with the number of the one that it means, from the second on: #explorer=2&moves=f5.

import { element } from "./board.js";
import { render } from "./layer_explorer.js";
import { parseTranscript, replay, transcript, whyNoFlip } from "./othello.js";

const KEPT = { moves: "", ply: 0, stage: 8, compare: -1, flip: "", drawing: "" };
const WRITE_AFTER_MS = 250; // browsers refuse an address that changes all the time
const LONGEST = 1500, LONGEST_QUOTED = 20; // characters: a game of 60 moves with their numbers has some 700

const quoted = (text) => (text.length > LONGEST_QUOTED ? `${text.slice(0, LONGEST_QUOTED)}…` : text);

// Which explorer of the page an address means, or 0 where it means none of them.
const explorerOf = (hash) => (hash.includes("=") ? Number(new URLSearchParams(hash.slice(1, LONGEST)).get("explorer") ?? 1) : 0);

// What an address says, checked; throws an Error for what is not a game or a place in it.
export function fromAddress(hash) {
  if (hash.length > LONGEST) throw new Error(`it has ${hash.length} characters, and no position needs more than ${LONGEST}`);
  const given = new URLSearchParams(hash.replace(/^#/, "")), found = { ...KEPT };
  found.moves = transcript(parseTranscript(given.get("moves") ?? ""));
  const whole = (name, low, high, otherwise) => {
    const text = given.get(name) ?? `${otherwise}`;
    if (!/^-?\d+$/.test(text) || Number(text) < low || Number(text) > high) throw new Error(`${name}=${quoted(text)} is not a number from ${low} to ${high}`);
    return Number(text);
  };
  found.ply = whole("ply", 0, found.moves.length / 2, found.moves.length / 2);
  found.stage = whole("stage", 0, 8, KEPT.stage);
  found.compare = whole("compare", -1, 8, KEPT.compare);
  found.flip = given.get("flip") ?? "";
  const position = replay(parseTranscript(given.get("moves") ?? ""))[found.ply];
  const whyNot = found.flip && whyNoFlip(position, found.flip);
  if (whyNot) throw new Error(`flip=${quoted(found.flip)} after ${found.ply} moves: ${whyNot}`);
  found.drawing = given.get("drawing") ?? "";
  if (!["", "next", "paper", "proven", "refuted"].includes(found.drawing)) throw new Error(`drawing=${quoted(found.drawing)} is not known`);
  return found;
}

// The moves are always there: an address without any would lead to where the page begins.
export function toAddress(state, explorer = 1) {
  const usual = { ...KEPT, moves: null, ply: state.moves.length / 2 };
  const told = Object.keys(KEPT).filter((name) => state[name] !== usual[name]).map((name) => [name, state[name]]);
  return `#${new URLSearchParams(explorer > 1 ? [["explorer", explorer], ...told] : told)}`;
}

// A stand-in for the model that a widget manager would give. explorer: which one of the page this is, from 1.
export function mount(el, start, explorer) {
  const state = { ...KEPT, ...start, board_size: 8, about: {}, given: {}, title: "What the network believes" };
  const listeners = {}, trouble = element("p", { class: "oe-error", role: "alert" });
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
  const read = () => {
    if (explorerOf(location.hash) !== explorer) return; // nor is an anchor of the page ours
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
    if (explorerOf(location.hash) === explorer) el.scrollIntoView({ block: "start" }); // the link may stand far below
  });
  el.append(trouble);
  return render({ model, el });
}
