// Where a LayerExplorer's numbers come from. A mind is asked about a line of moves, and answers with what the
// network has after the last of them:
//   boards    for each stage, probabilities of empty, mine and theirs for each square, [64 * 3]
//   next      the probability of each square as the next move, [64]
//   features  for each stage, the strongest features, [{feature, value}], strongest first
// `look(moves, edit)` gives a promise of these; edit: {square, to, from} pushes the stream, from a stage on, until
// the probe reads `to` (1 mine, 2 theirs) there.

import { parseSquare, vocabulary } from "./othello.js";
import { encode, metadata, Network, push, readProbe, readSafetensors, softmax } from "./network.js";

const STRONGEST = 6;

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

  canRead(moves) { return moves.length > 0 && moves.length <= this.network.context; }

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
// site names the file of weights, whose name changes with its content; a page opened from a disk may not fetch,
// but it may load a script that holds the same bytes.
let theOne = null;
export function pageMind() {
  const root = new URL(document.documentElement.dataset.content_root ?? "", document.baseURI);
  theOne ??= (root.protocol === "file:" ? loadScript(new URL("explorer.js", root)) : load(root))
    .then((buffer) => new PageMind(buffer));
  return theOne;
}

async function load(root) {
  const get = async (name) => {
    const answer = await fetch(new URL(name, root)).catch(() => ({ ok: false, status: "no answer" }));
    if (!answer.ok) throw new Error(`the network's weights are not at ${new URL(name, root).href} (${answer.status})`);
    return answer;
  };
  const { weights } = await (await get("explorer.json")).json();
  return (await get(weights)).arrayBuffer();
}

function loadScript(address) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = address.href;
    script.onload = () => {
      const text = globalThis.othelloWeights;
      delete globalThis.othelloWeights;
      resolve(Uint8Array.from(atob(text), (character) => character.charCodeAt(0)).buffer);
    };
    script.onerror = () => reject(new Error(`the network's weights are not at ${address.href}`));
    document.head.append(script);
  });
}

// The network of the kernel: each question is a message, and so is its answer.
const PATIENCE_MS = 10_000; // a page without its kernel never gets one
export class KernelMind {
  constructor(model) {
    this.model = model;
    this.about = model.get("about");
    this.waiting = new Map();
    this.last = 0;
    this.listener = (message, buffers) => this.answer(message, buffers);
    model.on("msg:custom", this.listener);
  }

  close() { this.model.off("msg:custom", this.listener); }

  get stages() { return this.about.config.n_layer + 1; }

  canRead(moves) { return moves.length > 0 && moves.length <= this.about.context; }

  ask(question) {
    const id = (this.last += 1);
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      setTimeout(() => reject(new Error("The kernel, whose network this is, does not answer: run the notebook")), PATIENCE_MS);
      this.model.send({ id, ...question });
    });
  }

  answer({ id, error, features, examples }, buffers) {
    const asked = this.waiting.get(id);
    if (!asked) return;
    this.waiting.delete(id);
    if (error) asked.reject(new Error(error));
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

  look(moves, edit) { return this.ask({ moves, edit: edit ?? null }); }

  excites(stage, feature) { return this.ask({ stage, feature }); }
}
