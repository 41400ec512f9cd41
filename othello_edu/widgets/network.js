// A GPT that runs in the page: `model.py` again, one move at a time, in plain JavaScript.
//
// A stream is one vector of d_model numbers. Each block reads it, adds what attention brings from the moves
// before, and adds what its MLP makes of that. Keys and values of moves that were read are kept, so that one
// more move costs one more move. Nothing here touches the page, so that Node can test it.

// The tensors of a safetensors file: name -> {shape, data}, as float32 numbers (integers as they are).
// https://github.com/huggingface/safetensors: eight bytes with the length of a JSON header, the header, the data.
export function readSafetensors(buffer) {
  if (buffer.byteLength < 8) throw new Error("the file of weights is cut off");
  const headerLength = Number(new DataView(buffer).getBigUint64(0, true));
  if (8 + headerLength > buffer.byteLength) throw new Error("the file of weights is cut off");
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, headerLength)));
  const tensors = new Map();
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const [from, to] = entry.data_offsets.map((offset) => 8 + headerLength + offset);
    if (to > buffer.byteLength) throw new Error(`the file of weights is cut off in ${name}`);
    const decode = READERS[entry.dtype];
    if (!decode) throw new Error(`${name} is of type ${entry.dtype}; known are ${Object.keys(READERS).join(", ")}`);
    tensors.set(name, { shape: entry.shape, data: decode(buffer.slice(from, to)) });
  }
  return tensors;
}

export function metadata(buffer) {
  const headerLength = Number(new DataView(buffer).getBigUint64(0, true));
  return JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, headerLength))).__metadata__ ?? {};
}

const READERS = {
  F16: (bytes) => decodeFloat16(new Uint16Array(bytes)),
  F32: (bytes) => new Float32Array(bytes),
  I16: (bytes) => new Int16Array(bytes),
  I8: (bytes) => new Int8Array(bytes),
  U8: (bytes) => new Uint8Array(bytes),
};

// IEEE half precision: a sign, five bits of exponent, ten of fraction. All 65,536 of them, once.
let halfTable = null;
function half(bits) {
  const exponent = (bits >> 10) & 31, fraction = bits & 1023;
  const magnitude = exponent === 0 ? fraction * 2 ** -24
    : exponent === 31 ? (fraction ? NaN : Infinity) : (1 + fraction / 1024) * 2 ** (exponent - 15);
  return bits >> 15 ? -magnitude : magnitude;
}

export function decodeFloat16(halves) {
  halfTable ??= Float32Array.from({ length: 1 << 16 }, (_, bits) => half(bits));
  const numbers = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i += 1) numbers[i] = halfTable[halves[i]];
  return numbers;
}

// weight [n_out, n_in] times x [n_in], plus bias, into out [n_out].
function linear({ data: weight }, x, out, bias) {
  const n = x.length;
  for (let row = 0, at = 0; row < out.length; row += 1, at += n) {
    let sum = bias ? bias.data[row] : 0;
    for (let i = 0; i < n; i += 1) sum += weight[at + i] * x[i];
    out[row] = sum;
  }
  return out;
}

function layerNorm(x, { data: gain }, { data: bias }, out) {
  let mean = 0, variance = 0;
  for (const value of x) mean += value;
  mean /= x.length;
  for (const value of x) variance += (value - mean) ** 2;
  const scale = 1 / Math.sqrt(variance / x.length + 1e-5);
  for (let i = 0; i < x.length; i += 1) out[i] = (x[i] - mean) * scale * gain[i] + bias[i];
  return out;
}

// The error function by its Taylor series and, further out, a continued fraction (Abramowitz and Stegun,
// 7.1.6 and 7.1.14); good to 1e-12.
export function erf(x) {
  const z = Math.abs(x);
  let value;
  if (z < 2.5) {
    let term = z, sum = z;
    for (let n = 1; Math.abs(term) > 1e-17 * sum; n += 1) {
      term *= (2 * z * z) / (2 * n + 1);
      sum += term;
    }
    value = (2 / Math.sqrt(Math.PI)) * Math.exp(-z * z) * sum;
  } else if (z < 6) {
    let fraction = z;
    for (let n = 60; n > 0; n -= 1) fraction = z + n / 2 / fraction;
    value = 1 - Math.exp(-z * z) / Math.sqrt(Math.PI) / fraction;
  } else {
    value = 1;
  }
  return x < 0 ? -value : value;
}

// GELU as the network was trained with it, x · Φ(x), from a table with cubic interpolation: erf itself would
// be most of the work.
const STEP = 1 / 64, LIMIT = 8;
const gelu = (() => {
  const exact = (x) => (x / 2) * (1 + erf(x / Math.SQRT2));
  const table = Float64Array.from({ length: 2 * (LIMIT + 1) / STEP }, (_, i) => exact(i * STEP - LIMIT - 1));
  return (x) => {
    if (x >= LIMIT) return x;
    if (x <= -LIMIT) return 0;
    const place = (x + LIMIT + 1) / STEP, at = Math.floor(place), t = place - at;
    const [a, b, c, d] = [table[at - 1], table[at], table[at + 1], table[at + 2]];
    return b + (t / 2) * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)));
  };
})();

export class Network {
  // tensors: of `readSafetensors`, with the names of `model.py`. config: board_size, n_layer, n_head, d_model.
  constructor(tensors, config) {
    Object.assign(this, config);
    const get = (name) => {
      if (!tensors.has(name)) throw new Error(`the weights have no ${name}`);
      return tensors.get(name);
    };
    this.token = get("token_embedding.weight");
    this.position = get("position_embedding.weight");
    this.blocks = Array.from({ length: this.n_layer }, (_, i) => {
      const block = (name) => ({ weight: get(`blocks.${i}.${name}.weight`), bias: get(`blocks.${i}.${name}.bias`) });
      return { ln1: block("ln_1"), qkv: block("attn.qkv"), out: block("attn.out"), ln2: block("ln_2"), up: block("mlp.up"), down: block("mlp.down") };
    });
    this.ln = { weight: get("ln_f.weight"), bias: get("ln_f.bias") };
    this.head = get("head.weight");
    [this.vocab, this.context] = [this.token.shape[0], this.position.shape[0]];
    const D = this.d_model;
    this.scratch = { normed: new Float32Array(D), qkv: new Float32Array(3 * D), mixed: new Float32Array(D), added: new Float32Array(D), hidden: new Float32Array(4 * D), scores: new Float32Array(this.context) };
    this.kvCache = this.blocks.map(() => ({ keys: new Float32Array(this.context * D), values: new Float32Array(this.context * D) }));
    this.steps = []; // of the tokens whose keys and values are kept, each with its streams and logits
  }

  // What the network has after each of the tokens: [{token, streams [n_layer + 1][d_model], logits}]. Tokens
  // that it has read before in the same places are not read again.
  run(tokens) {
    if (tokens.length > this.context) throw new Error(`this network reads at most ${this.context} moves`);
    let shared = 0;
    while (shared < tokens.length && shared < this.steps.length && this.steps[shared].token === tokens[shared]) shared += 1;
    this.steps.length = shared;
    for (const token of tokens.slice(shared)) this.steps.push(this.step(token, this.steps.length));
    return this.steps.slice();
  }

  // The same for the last of the tokens alone, whose stream `edit(stage, stream)` may change at every stage.
  runEdited(tokens, edit) {
    const last = tokens.length - 1;
    this.run(tokens.slice(0, last));
    return this.step(tokens[last], last, edit); // overwrites keys at `last`, which `steps` does not count
  }

  step(token, at, edit) {
    const D = this.d_model, x = new Float32Array(D);
    for (let i = 0; i < D; i += 1) x[i] = this.token.data[token * D + i] + this.position.data[at * D + i];
    const streams = [];
    const record = () => {
      edit?.(streams.length, x);
      streams.push(x.slice());
    };
    record();
    this.blocks.forEach((block, index) => {
      this.addAttention(block, this.kvCache[index], x, at);
      this.addMLP(block, x);
      record();
    });
    return { token, streams, logits: this.logits(x) };
  }

  // x += what attention brings from this move and those before it.
  addAttention({ ln1, qkv, out }, { keys, values }, x, at) {
    const D = this.d_model, width = D / this.n_head, { normed, mixed, added, scores } = this.scratch;
    linear(qkv.weight, layerNorm(x, ln1.weight, ln1.bias, normed), this.scratch.qkv, qkv.bias);
    const query = this.scratch.qkv.subarray(0, D);
    keys.set(this.scratch.qkv.subarray(D, 2 * D), at * D);
    values.set(this.scratch.qkv.subarray(2 * D), at * D);
    mixed.fill(0);
    for (let from = 0; from < D; from += width) {
      let largest = -Infinity, total = 0;
      for (let j = 0; j <= at; j += 1) {
        let dot = 0;
        for (let i = from; i < from + width; i += 1) dot += query[i] * keys[j * D + i];
        scores[j] = dot / Math.sqrt(width);
        largest = Math.max(largest, scores[j]);
      }
      for (let j = 0; j <= at; j += 1) total += scores[j] = Math.exp(scores[j] - largest);
      for (let j = 0; j <= at; j += 1) {
        const weight = scores[j] / total;
        for (let i = from; i < from + width; i += 1) mixed[i] += weight * values[j * D + i];
      }
    }
    linear(out.weight, mixed, added, out.bias);
    for (let i = 0; i < D; i += 1) x[i] += added[i];
  }

  // x += what the MLP makes of it.
  addMLP({ ln2, up, down }, x) {
    const { normed, hidden, added } = this.scratch;
    linear(up.weight, layerNorm(x, ln2.weight, ln2.bias, normed), hidden, up.bias);
    for (let i = 0; i < hidden.length; i += 1) hidden[i] = gelu(hidden[i]);
    linear(down.weight, hidden, added, down.bias);
    for (let i = 0; i < x.length; i += 1) x[i] += added[i];
  }

  logits(x) {
    const normed = layerNorm(x, this.ln.weight, this.ln.bias, new Float32Array(this.d_model));
    return linear(this.head, normed, new Float32Array(this.vocab));
  }
}

// Probabilities from logits; padding (token 0) is never a prediction.
export function softmax(logits, from = 1) {
  let largest = -Infinity, total = 0;
  for (let i = from; i < logits.length; i += 1) largest = Math.max(largest, logits[i]);
  const p = new Float32Array(logits.length);
  for (let i = from; i < logits.length; i += 1) total += p[i] = Math.exp(logits[i] - largest);
  for (let i = from; i < logits.length; i += 1) p[i] /= total;
  return p;
}

// Pushes a stream along a square's writing direction until the probe prefers the kind `to` there by the margin by which
// it preferred `from`, as `probe_edits` does. writing [64, d_model]: from mine (1) to theirs (2). Where the probe prefers
// `to` already, or the direction does not lead there, nothing changes.
export function pushStream({ weight, bias, kinds }, writing, stream, square, from, to) {
  const D = stream.length, [a, b] = [square * kinds + from, square * kinds + to];
  const direction = writing.subarray(square * D, (square + 1) * D).map((value) => (to > from ? value : -value));
  let margin = bias[b] - bias[a], gain = 0;
  for (let i = 0; i < D; i += 1) {
    const reading = weight[b * D + i] - weight[a * D + i];
    margin += reading * stream[i];
    gain += reading * direction[i];
  }
  if (margin >= 0 || gain <= 0) return;
  for (let i = 0; i < D; i += 1) stream[i] -= (2 * margin * direction[i]) / gain;
}

// The activations of an autoencoder's features: weight [features, d_model], bias [features], ReLU; with k, only
// the k largest stay.
export function encode({ weight, bias, k }, stream) {
  const code = linear({ data: weight }, stream, new Float32Array(bias.length), { data: bias });
  for (let i = 0; i < code.length; i += 1) code[i] = Math.max(0, code[i]);
  if (k) {
    const least = code.slice().sort()[code.length - k];
    for (let i = 0; i < code.length; i += 1) if (code[i] < least) code[i] = 0;
  }
  return code;
}

// What a linear probe reads from a stream: for each question the scores of its kinds. weight [questions,
// kinds, d_model], bias [questions, kinds], both flat; returns the probabilities, [questions * kinds].
export function readProbe({ weight, bias, kinds }, stream) {
  const n = bias.length;
  const p = linear({ data: weight }, stream, new Float32Array(n), { data: bias });
  for (let from = 0; from < n; from += kinds) p.set(softmax(p.subarray(from, from + kinds), 0), from);
  return p;
}
