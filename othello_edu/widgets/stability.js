// Which discs can never be turned over again, as `stability.py` has it: the paper's rule, a proof, and a
// refutation by play. Always
//   proven  ⊆  stable  ⊆  not refuted,
// while the paper's rule marks discs of either sort.
//
// Every function gives a mask, 64 numbers 0 or 1, of a board or a position of `othello.js`.

import { flips, lines } from "./othello.js";

// The four edges, each as its squares in order: the outer rows, a to h, then the outer columns, 1 to 8.
function edges(size) {
  const inside = lines(size), outer = [inside[0], inside.at(-1)];
  return [
    ...outer.map((row) => inside.map((column) => 8 * row + column)),
    ...outer.map((column) => inside.map((row) => 8 * row + column)),
  ];
}

// The paper's rule, defects included: occupied corners; then, along each edge in order, an occupied tile beside a
// marked one. Colours are ignored, a mark counts at once (so marks spread all along an edge from its first corner,
// but one tile only from its last), and no tile inside is ever marked.
export function stablePaper(board, size = 8) {
  const marked = new Uint8Array(64);
  for (const edge of edges(size)) {
    for (const corner of [edge[0], edge.at(-1)]) if (board[corner]) marked[corner] = 1;
    edge.forEach((tile, at) => {
      if (board[tile] && (marked[edge[at - 1]] || marked[edge[at + 1]])) marked[tile] = 1;
    });
  }
  return marked;
}

// What a new disc turns over along an edge, whose places are bits. Off either end a shift finds no disc.
function turnedOnEdge(at, own, opp) {
  let turned = 0;
  for (const step of [1, -1]) {
    let run = 0, next = at + step;
    for (; (opp >> next) & 1; next += step) run |= 1 << next;
    if ((own >> next) & 1) turned |= run;
  }
  return turned;
}

// Discs of an edge that survive every way of filling it, as bits: every order, either colour on any empty square.
// That is more than any game can do, for all the other lines of an edge disc end at the border.
const survivorsOf = new Map();
function edgeSurvivors(black, white, size) {
  const state = (size << 16) | (black << 8) | white;
  if (survivorsOf.has(state)) return survivorsOf.get(state);
  let survivors = black | white;
  for (let at = 0; at < size && survivors; at += 1) {
    const disc = 1 << at;
    if ((black | white) & disc) continue;
    const byBlack = turnedOnEdge(at, black, white), byWhite = turnedOnEdge(at, white, black);
    survivors &= ~byBlack & edgeSurvivors(black | byBlack | disc, white & ~byBlack, size);
    survivors &= ~byWhite & edgeSurvivors(black & ~byWhite, white | byWhite | disc, size);
  }
  survivorsOf.set(state, survivors);
  return survivors;
}

// For each square, on each of its four lines, all squares of the line and the two neighbours there, undefined where
// the border is: Map(size -> [64][4]).
const linesThroughOf = new Map();
function linesThrough(size) {
  if (!linesThroughOf.has(size)) {
    const inside = lines(size);
    const ray = (square, down, right) => {
      const row = (square >> 3) + down, column = (square % 8) + right, next = 8 * row + column;
      return inside.includes(row) && inside.includes(column) ? [next, ...ray(next, down, right)] : [];
    };
    linesThroughOf.set(size, Array.from({ length: 64 }, (_, square) =>
      [[0, 1], [1, 0], [1, 1], [1, -1]].map(([down, right]) => {
        const back = ray(square, -down, -right), ahead = ray(square, down, right);
        return { all: [...back, square, ...ahead], beside: [back[0], ahead[0]] };
      })));
  }
  return linesThroughOf.get(size);
}

// Discs proven stable. To be turned over, a disc must lie in a run between a new disc and an old one. A full line
// takes no new disc; a run has no end at the border, nor at a neighbour of the disc's own colour that stays. So a
// disc is proven if on each of its lines one of these holds, until none is added; the edges begin.
export function stableSound(board, size = 8) {
  const proven = new Uint8Array(64), through = linesThrough(size);
  for (const edge of edges(size)) {
    const bits = (player) => edge.reduce((sum, square, at) => sum | ((board[square] === player) << at), 0);
    const survivors = edgeSurvivors(bits(1), bits(2), size);
    edge.forEach((square, at) => { proven[square] |= (survivors >> at) & 1; });
  }
  const safe = (square) => through[square].every(({ all, beside }) =>
    beside.some((next) => next === undefined || (proven[next] && board[next] === board[square]))
    || all.every((other) => board[other]));
  for (let added = true; added;) {
    added = false;
    for (let square = 0; square < 64; square += 1) {
      if (board[square] && !proven[square] && safe(square)) proven[square] = added = true;
    }
  }
  return proven;
}

// Random numbers from 0 to 1, the same ones for the same seed, as `Math.random` cannot promise: mulberry32.
function randomFrom(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x = (x + Math.imul(x ^ (x >>> 7), x | 61)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

// Discs that some legal continuation was seen to turn over: certainly not stable. The position is played to its
// end again and again, by turns uniformly at random and seeking: the move that turns over most of the discs that
// are neither proven stable nor refuted yet. It stops when there are none left.
export function refuted({ size, board, toMove }, nPlayouts, seed) {
  const turnedOver = new Uint8Array(64), random = randomFrom(seed), proven = stableSound(board, size);
  if (!toMove) return turnedOver;
  const sought = new Set([...board.keys()].filter((square) => board[square] && !proven[square]));
  const gain = ({ turned }) => turned.filter((disc) => sought.has(disc)).length;
  for (let playout = 0; playout < nPlayouts && sought.size; playout += 1) {
    const now = board.slice();
    for (let player = toMove, passes = 0; passes < 2; player = 3 - player) {
      const moves = playable(now, player, size);
      passes = moves.length ? 0 : passes + 1;
      if (!moves.length) continue;
      let move = moves[Math.floor(moves.length * random())];
      // Where nothing sought can be turned over, the random move stays.
      if (playout % 2) move = moves.reduce((best, other) => (gain(other) > gain(best) ? other : best), move);
      now[move.square] = player;
      for (const disc of move.turned) {
        now[disc] = player;
        if (board[disc]) turnedOver[disc] = 1;
        sought.delete(disc);
      }
    }
  }
  return turnedOver;
}

// The legal moves of a player, each with what it turns over.
function playable(board, player, size) {
  const moves = [];
  for (let square = 0; square < 64; square += 1) {
    const turned = flips(board, square, player, size);
    if (turned.length) moves.push({ square, turned });
  }
  return moves;
}
