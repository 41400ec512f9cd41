// Where a LayerExplorer's numbers come from: the network in the page, the network in the kernel, or arrays that
// came with the widget. A mind is asked about a line of moves, and answers with what the network has after the
// last of them:
//   boards    for each stage, probabilities of empty, mine and theirs for each square, [64 * 3]
//   next      the probability of each square as the next move, [64]; null where that is not known
//   features  for each stage, the strongest features, [{feature, value}], strongest first; null: none known
// `look(moves, edit)` gives a promise of these; edit: {square, to, from} pushes the stream, from a stage on, until
// the probe reads `to` (1 mine, 2 theirs) there. `refusal(moves)` says why it cannot be asked, or nothing.

import { parseSquare, transcript, vocabulary } from "./othello.js";
import { decodeFloat16, encode, metadata, Network, push, readProbe, readSafetensors, softmax } from "./network.js";

const STRONGEST = 6;

function tooShortOrLong(moves, context) {
  if (!moves.length) return "It has read no move yet: play one.";
  return moves.length > context ? "It never reads the last move of a full board: there is nothing left to predict." : "";
}

// The network in the page: everything from one safetensors file, of `explorer_file` in Python.
export class PageMind {
  constructor(buffer) {
    const about = JSON.parse(metadata(buffer).explorer), tensors = readSafetensors(buffer);
    this.about = about;
    this.network = new Network(tensors, about.config);
    const stages = about.config.n_layer + 1;
    const of = (name) => {
      const { data } = tensors.get(name), n = data.length / stages;
      return Array.from({ length: stages }, (_, stage) => data.subarray(stage * n, (stage + 1) * n));
    };
    const [weights, biases] = [of("probe.weight"), of("probe.bias")];
    this.probes = weights.map((weight, stage) => ({ weight, bias: biases[stage], kinds: 3 }));
    const [rows, offsets] = [of("sae.weight"), of("sae.bias")];
    this.saes = rows.map((weight, stage) => ({ weight, bias: offsets[stage], k: about.k }));
    this.examples = { games: tensors.get("examples.moves"), top: of("examples.top"), values: of("examples.value") };
    this.words = vocabulary(about.config.board_size);
  }

  get stages() { return this.probes.length; }

  refusal(moves) { return tooShortOrLong(moves, this.network.context); }

  async look(moves, edit) {
    const tokens = moves.map((square) => this.words.token[square]);
    const change = edit && ((stage, stream) => {
      if (stage >= edit.from) push(this.probes[stage], stream, edit.square, 3 - edit.to, edit.to);
    });
    const { streams, logits } = change ? this.network.runEdited(tokens, change) : this.network.run(tokens).at(-1);
    const p = softmax(logits), next = new Float32Array(64);
    for (let token = 1; token < p.length; token += 1) next[this.words.square[token]] = p[token];
    const boards = streams.map((stream, stage) => readProbe(this.probes[stage], stream));
    const features = streams.map((stream, stage) => strongest(encode(this.saes[stage], stream)));
    return { boards, next, features };
  }

  // The boards that excite a feature most: [{moves, value}].
  excites(stage, feature) {
    const { games, top, values } = this.examples, n = this.about.n_examples, width = games.shape[1];
    return Array.from({ length: n }, (_, i) => {
      const at = feature * n + i, [game, ply] = [top[stage][2 * at], top[stage][2 * at + 1]];
      return { moves: Array.from(games.data.subarray(game * width, game * width + ply + 1)), value: values[stage][at] };
    }).filter(({ value }) => value > 0);
  }
}

function strongest(code) {
  return Array.from(code, (value, feature) => ({ feature, value })).filter(({ value }) => value > 0)
    .sort((a, b) => b.value - a.value).slice(0, STRONGEST);
}

// The network of the page is fetched once, however many explorers there are. `explorer.json` at the root of the
// site names the file of weights, whose name changes with its content, and the network's fingerprint. A page opened
// from a disk may not fetch, but it may load scripts that hold the same.
const siteRoot = () => new URL(document.documentElement.dataset.content_root ?? "", document.baseURI);
const once = (make) => {
  let made = null;
  return () => (made ??= make());
};
const pageManifest = once(() => (siteRoot().protocol === "file:" ? loadScript("explorer.js", "othelloExplorer")
  : load("explorer.json").then((answer) => answer.json())));
const pageMind = once(async () => {
  const { weights } = await pageManifest();
  if (siteRoot().protocol !== "file:") return new PageMind(await (await load(weights)).arrayBuffer());
  const text = await loadScript(weights.replace(/safetensors$/, "js"), "othelloWeights");
  return new PageMind(Uint8Array.from(atob(text), (character) => character.charCodeAt(0)).buffer);
});

async function load(name) {
  const address = new URL(name, siteRoot());
  const answer = await fetch(address).catch(() => ({ ok: false, status: "no answer" }));
  if (!answer.ok) throw new Error(`the network's weights are not at ${address.href} (${answer.status})`);
  return answer;
}

// Runs a script, which leaves its value in a global variable.
function loadScript(name, variable) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = new URL(name, siteRoot()).href;
    script.onload = () => {
      resolve(globalThis[variable]);
      delete globalThis[variable];
    };
    script.onerror = () => reject(new Error(`the network's weights are not at ${script.src}`));
    document.head.append(script);
  });
}

// The network of the kernel: each question is a message, and so is its answer. along: a mind to ask where the
// kernel is silent, as in a page that shows a notebook and does not run it.
const PATIENCE_MS = 10_000;
export class KernelMind {
  constructor(model, along, kernel) {
    this.model = model;
    this.along = along;
    this.kernel = kernel; // of `kernel.js`
    kernel.onForgotten = () => this.forgotten();
    this.silent = kernel.forgotten;
    this.about = model.get("about");
    this.waiting = new Map();
    this.last = 0;
    this.listener = (message, buffers) => this.answer(message, buffers);
    model.on("msg:custom", this.listener);
  }

  close() { this.model.off("msg:custom", this.listener); }

  // Those who wait need wait no longer; from now on the arrays that came along answer, if there are any.
  forgotten() {
    this.silent = true;
    for (const { reject } of this.waiting.values()) reject(new Error(this.kernel.reason));
    this.waiting.clear();
  }

  get stages() { return this.about.config.n_layer + 1; }

  // Whether nothing can be changed in the network, because arrays answer.
  get fixed() { return this.silent && Boolean(this.along); }

  refusal(moves) {
    return tooShortOrLong(moves, this.about.context) || (this.silent && this.along ? this.along.refusal(moves) : "");
  }

  ask(question) {
    const id = (this.last += 1);
    return new Promise((resolve, reject) => {
      const asked = { resolve, reject, late: false };
      this.waiting.set(id, asked);
      setTimeout(() => {
        if (this.waiting.has(id)) asked.late = this.silent = true;
        reject(new Error("The kernel, whose network this is, does not answer: run the notebook"));
      }, PATIENCE_MS);
      this.kernel.send({ id, ...question });
    });
  }

  answer({ id, error, features, examples }, buffers) {
    const asked = this.waiting.get(id);
    if (!asked) return;
    this.waiting.delete(id);
    this.silent = false;
    if (asked.late) this.woke?.(); // it was busy: what is shown now can be asked for
    else if (error) asked.reject(new Error(error));
    else if (examples) asked.resolve(examples.map(({ moves, value }) => ({ moves: moves.match(/../g).map(parseSquare), value })));
    else {
      const floats = (view) => new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
      const boards = floats(buffers[0]), n = 64 * 3;
      asked.resolve({
        boards: Array.from({ length: this.stages }, (_, stage) => boards.subarray(stage * n, (stage + 1) * n)),
        next: floats(buffers[1]), features,
      });
    }
  }

  async look(moves, edit) {
    if (!this.silent || !this.along) {
      try {
        return await this.ask({ moves, edit: edit ?? null });
      } catch (error) {
        if (!this.silent || !this.along || this.along.refusal(moves)) throw error;
      }
    }
    return this.along.look(moves);
  }

  excites(stage, feature) { return this.ask({ stage, feature }); }
}

// Arrays that came with the widget, for one line of moves. A byte of a square is its kind and how sure that is,
// 85 steps from a third to one.
const SURE_STEPS = 84;
export class GivenMind {
  constructor({ moves, stages, boards, next }, about) {
    const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    this.line = moves;
    this.stages = stages;
    this.about = about;
    this.boards = bytes(boards);
    this.next = next ? decodeFloat16(new Uint16Array(bytes(next).buffer)) : null;
    this.fixed = true; // nothing can be changed in a network that is not here
  }

  refusal(moves) {
    if (!moves.length) return tooShortOrLong(moves, 0);
    return moves.length <= this.boards.length / 64 / this.stages && this.line.startsWith(transcript(moves)) ? ""
      : "Only one line of moves came with this page, and this is another: go back to it, or run the notebook.";
  }

  async look(moves) {
    const plies = this.boards.length / 64 / this.stages, ply = moves.length - 1;
    const boards = Array.from({ length: this.stages }, (_, stage) => {
      const p = new Float32Array(64 * 3);
      for (let square = 0; square < 64; square += 1) {
        const byte = this.boards[64 * (stage * plies + ply) + square];
        const kind = Math.floor(byte / (SURE_STEPS + 1)), sure = (1 + (2 * (byte % (SURE_STEPS + 1))) / SURE_STEPS) / 3;
        for (let k = 0; k < 3; k += 1) p[3 * square + k] = k === kind ? sure : (1 - sure) / 2;
      }
      return p;
    });
    return { boards, next: this.next && this.next.subarray(64 * ply, 64 * (ply + 1)), features: null };
  }
}

// The mind of a widget, as a promise. In the book there is no kernel: there a network of the kernel's is the page's
// own, if their fingerprints agree, or what came along of it.
export async function mindOf(model, kernel) {
  const about = model.get("about"), given = model.get("given");
  const inBook = "content_root" in document.documentElement.dataset;
  const along = given.stages ? new GivenMind(given, about) : null;
  if (about.config && !inBook) return new KernelMind(model, along, kernel);
  if (!about.config) return along ?? pageMind();
  const manifest = await pageManifest().catch(() => ({}));
  if (manifest.network === about.network) return pageMind();
  if (along) return along;
  throw new Error("this network was in the notebook's kernel: run the notebook to ask it");
}
