// Where a LayerExplorer's numbers come from. Three backends do the same: `PageBackend` runs the network in the page,
// `KernelBackend` asks the kernel, `ArraysBackend` has arrays that came with the widget.
//
// `run(moves, edit)` gives a promise of what the network has after the last of the moves:
//   boards    for each stage, probabilities of empty, mine and theirs for each square, [64 * 3]
//   next      the probability of each square as the next move, [64]; null where that is not known
//   features  for each stage, the strongest features, [{feature, value}], strongest first; null: none known
// edit: {square, to, from} pushes the residual stream, from that stage on, until the probe reads `to` (1 mine,
// 2 theirs) on the square; `about.along` says along which of the square's directions, "writing" or "reading". `whyUnavailable(moves)` says why these moves cannot be run, or "". `topExamples(stage,
// feature)` gives the positions at which a feature is most active, [{moves, value}]. `readOnly` is true where nothing
// can be edited, because the network is not at hand.

import { parseSquare, transcript, vocabulary } from "./othello.js";
import { decodeFloat16, encode, metadata, Network, pushStream, readProbe, readSafetensors, softmax } from "./network.js";

const N_STRONGEST = 6;

function whyOutsideContext(moves, context) {
  if (!moves.length) return "It has read no move yet: play one.";
  return moves.length > context ? "It never reads the last move of a full board: there is nothing left to predict." : "";
}

// The network in the page: everything from one safetensors file, of `explorer_file` in Python.
export class PageBackend {
  constructor(buffer) {
    const about = JSON.parse(metadata(buffer).explorer), tensors = readSafetensors(buffer);
    this.about = about;
    this.network = new Network(tensors, about.config);
    const stages = about.config.n_layer + 1;
    const byStage = (name) => {
      const { data } = tensors.get(name), n = data.length / stages;
      return Array.from({ length: stages }, (_, stage) => data.subarray(stage * n, (stage + 1) * n));
    };
    const [probeWeights, probeBiases] = [byStage("probe.weight"), byStage("probe.bias")];
    const { d_model } = about.config;
    this.probes = probeWeights.map((weight, stage) => ({ weight: withEmpty(weight, d_model), bias: withEmpty(probeBiases[stage], 1), kinds: 3 }));
    this.writing = byStage("writing");
    const [encoderWeights, encoderBiases] = [byStage("sae.weight"), byStage("sae.bias")];
    this.saes = encoderWeights.map((weight, stage) => ({ weight, bias: encoderBiases[stage], k: about.k }));
    this.examples = { games: tensors.get("examples.moves"), top: byStage("examples.top"), values: byStage("examples.value") };
    this.vocabulary = vocabulary(about.config.board_size);
  }

  get stages() { return this.probes.length; }

  whyUnavailable(moves) { return whyOutsideContext(moves, this.network.context); }

  async run(moves, edit) {
    const tokens = moves.map((square) => this.vocabulary.token[square]);
    const editStream = edit && ((stage, stream) => {
      if (stage >= edit.from) pushStream(this.probes[stage], this.writing[stage], stream, edit.square, 3 - edit.to, edit.to);
    });
    const { streams, logits } = editStream ? this.network.runEdited(tokens, editStream) : this.network.run(tokens).at(-1);
    const p = softmax(logits), next = new Float32Array(64);
    for (let token = 1; token < p.length; token += 1) next[this.vocabulary.square[token]] = p[token];
    const boards = streams.map((stream, stage) => readProbe(this.probes[stage], stream));
    const features = streams.map((stream, stage) => strongestOf(encode(this.saes[stage], stream)));
    return { boards, next, features };
  }

  topExamples(stage, feature) {
    const { games, top, values } = this.examples, n = this.about.n_examples, width = games.shape[1];
    return Array.from({ length: n }, (_, i) => {
      const at = feature * n + i, [game, ply] = [top[stage][2 * at], top[stage][2 * at + 1]];
      return { moves: Array.from(games.data.subarray(game * width, game * width + ply + 1)), value: values[stage][at] };
    }).filter(({ value }) => value > 0);
  }
}

// The file has by how much mine and theirs score more than empty, so that empty scores 0. n: numbers of one kind.
function withEmpty(values, n) {
  const all = new Float32Array((values.length * 3) / 2);
  for (let at = 0; at < values.length; at += 2 * n) all.set(values.subarray(at, at + 2 * n), (at * 3) / 2 + n);
  return all;
}

function strongestOf(activations) {
  return Array.from(activations, (value, feature) => ({ feature, value })).filter(({ value }) => value > 0)
    .sort((a, b) => b.value - a.value).slice(0, N_STRONGEST);
}

// The network of the page is fetched once, however many explorers there are. `explorer.json` at the root of the
// site names the file of weights, whose name changes with its content, and the network's fingerprint. A page opened
// from a disk may not fetch, but it may load scripts that hold the same.
const siteRoot = () => new URL(document.documentElement.dataset.content_root ?? "", document.baseURI);
const once = (compute) => {
  let value = null;
  return () => (value ??= compute());
};
const pageManifest = once(() => (siteRoot().protocol === "file:" ? loadScript("explorer.js", "othelloExplorer")
  : fetchFile("explorer.json").then((response) => response.json())));
const pageBackend = once(async () => {
  const { weights } = await pageManifest();
  if (siteRoot().protocol !== "file:") return new PageBackend(await (await fetchFile(weights)).arrayBuffer());
  const text = await loadScript(weights.replace(/safetensors$/, "js"), "othelloWeights");
  return new PageBackend(bytesOf(text).buffer);
});

const bytesOf = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

async function fetchFile(name) {
  const address = new URL(name, siteRoot());
  const response = await fetch(address).catch(() => ({ ok: false, status: "no answer" }));
  if (!response.ok) throw new Error(`the network's weights are not at ${address.href} (${response.status})`);
  return response;
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

// The network of the kernel: each request is a message, and so is its response. fallback: a backend for when the
// kernel does not respond, as in a page that shows a notebook and does not run it; or null.
const TIMEOUT_MS = 10_000;
export class KernelBackend {
  constructor(model, fallback, connection) {
    this.model = model;
    this.fallback = fallback;
    this.connection = connection; // of `kernel.js`
    connection.onForgotten = () => this.abandon();
    this.unresponsive = connection.forgotten;
    this.about = model.get("about");
    this.pending = new Map(); // id of a request -> {resolve, reject, timedOut}
    this.lastId = 0;
    this.onResponsive = null; // called when a response comes after all
    this.listener = (message, buffers) => this.receive(message, buffers);
    model.on("msg:custom", this.listener);
  }

  close() { this.model.off("msg:custom", this.listener); }

  // The kernel has forgotten the widget: no request will be answered.
  abandon() {
    this.unresponsive = true;
    for (const { reject } of this.pending.values()) reject(new Error(this.connection.reason));
    this.pending.clear();
  }

  get stages() { return this.about.config.n_layer + 1; }

  get readOnly() { return this.unresponsive && Boolean(this.fallback); }

  whyUnavailable(moves) {
    return whyOutsideContext(moves, this.about.context) || (this.readOnly ? this.fallback.whyUnavailable(moves) : "");
  }

  request(content) {
    const id = (this.lastId += 1);
    return new Promise((resolve, reject) => {
      const request = { resolve, reject, timedOut: false };
      this.pending.set(id, request);
      setTimeout(() => {
        if (this.pending.has(id)) request.timedOut = this.unresponsive = true;
        reject(new Error("The kernel, whose network this is, does not answer: run the notebook"));
      }, TIMEOUT_MS);
      this.connection.send({ id, ...content });
    });
  }

  receive({ id, error, features, examples }, buffers) {
    const request = this.pending.get(id);
    if (!request) return;
    this.pending.delete(id);
    this.unresponsive = false;
    if (request.timedOut) this.onResponsive?.(); // it was busy: what is shown now can be requested
    else if (error) request.reject(new Error(error));
    else if (examples) request.resolve(examples.map(({ moves, value }) => ({ moves: moves.match(/../g).map(parseSquare), value })));
    else {
      const floats = (view) => new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
      const boards = floats(buffers[0]), n = 64 * 3;
      request.resolve({
        boards: Array.from({ length: this.stages }, (_, stage) => boards.subarray(stage * n, (stage + 1) * n)),
        next: floats(buffers[1]), features,
      });
    }
  }

  async run(moves, edit) {
    if (!this.readOnly) {
      try {
        return await this.request({ moves, edit: edit ?? null });
      } catch (error) {
        if (!this.readOnly || this.fallback.whyUnavailable(moves)) throw error;
      }
    }
    return this.fallback.run(moves);
  }

  topExamples(stage, feature) { return this.request({ stage, feature }); }
}

// Arrays that came with the widget, for one line of moves. A byte of a square is its kind and the probability of
// that kind, in 85 steps from a third to one.
const PROBABILITY_STEPS = 84;
export class ArraysBackend {
  constructor({ moves, stages, boards, next }, about) {
    this.line = moves;
    this.stages = stages;
    this.about = about;
    this.boards = bytesOf(boards);
    this.next = next ? decodeFloat16(new Uint16Array(bytesOf(next).buffer)) : null;
    this.readOnly = true;
  }

  whyUnavailable(moves) {
    if (!moves.length) return whyOutsideContext(moves, 0);
    return moves.length <= this.boards.length / 64 / this.stages && this.line.startsWith(transcript(moves)) ? ""
      : "Only one line of moves came with this page, and this is another: go back to it, or run the notebook.";
  }

  async run(moves) {
    const plies = this.boards.length / 64 / this.stages, ply = moves.length - 1;
    const boards = Array.from({ length: this.stages }, (_, stage) => {
      const p = new Float32Array(64 * 3);
      for (let square = 0; square < 64; square += 1) {
        const byte = this.boards[64 * (stage * plies + ply) + square], steps = byte % (PROBABILITY_STEPS + 1);
        const kind = Math.floor(byte / (PROBABILITY_STEPS + 1)), likeliest = (1 + (2 * steps) / PROBABILITY_STEPS) / 3;
        for (let k = 0; k < 3; k += 1) p[3 * square + k] = k === kind ? likeliest : (1 - likeliest) / 2;
      }
      return p;
    });
    return { boards, next: this.next && this.next.subarray(64 * ply, 64 * (ply + 1)), features: null };
  }
}

// The backend of a widget, as a promise. On the site there is no kernel. There a widget with the kernel's network uses
// the page's network, if their fingerprints agree, or the arrays that came with it.
export async function backendOf(model, connection) {
  const about = model.get("about"), arrays = model.get("given");
  const onSite = "content_root" in document.documentElement.dataset;
  const fallback = arrays.stages ? new ArraysBackend(arrays, about) : null;
  if (about.config && !onSite) return new KernelBackend(model, fallback, connection);
  if (!about.config) return fallback ?? pageBackend();
  const manifest = await pageManifest().catch(() => ({}));
  if (manifest.network === about.network) return pageBackend();
  if (fallback) return fallback;
  throw new Error("this network was in the notebook's kernel: run the notebook to ask it");
}
