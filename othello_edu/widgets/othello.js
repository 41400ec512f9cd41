// The rules of Othello, as `engine.py` and `board.py` have them: the same squares, passes and names.
//
// Squares are 0 to 63, a1 = 0, h1 = 7, h8 = 63. A board is 64 numbers: 0 empty, 1 black, 2 white. Boards of
// 4x4 and 6x6 sit in the middle of the 8x8 grid. Nothing here touches the page, so that Node can test it.

export const PLAYERS = ["nobody", "black", "white"];
const DIRECTIONS = [[-1, -1], [-1, 0], [-1, 1], [0, -1], [0, 1], [1, -1], [1, 0], [1, 1]];

export const squareName = (square) => "abcdefgh"[square % 8] + (1 + (square >> 3));

// The square that a name such as "d3" stands for, or -1.
export function parseSquare(name) {
  const column = "abcdefgh".indexOf(name[0]), row = "12345678".indexOf(name[1]);
  return name.length === 2 && column >= 0 && row >= 0 ? 8 * row + column : -1;
}

// The rows and columns of a board of this size.
export function lines(size) {
  const margin = (8 - size) / 2;
  return Array.from({ length: size }, (_, i) => i + margin);
}

// For each square, in each direction, the squares that follow to the border: Map(size -> [64][8][…]).
const raysOf = new Map();
function rays(size) {
  if (!raysOf.has(size)) {
    const [low, high] = [(8 - size) / 2, (8 + size) / 2];
    const inside = (row, column) => row >= low && row < high && column >= low && column < high;
    raysOf.set(size, Array.from({ length: 64 }, (_, square) => DIRECTIONS.map(([down, right]) => {
      const ray = [];
      let row = (square >> 3) + down, column = (square % 8) + right;
      for (; inside(row, column); row += down, column += right) ray.push(8 * row + column);
      return inside(square >> 3, square % 8) ? ray : [];
    })));
  }
  return raysOf.get(size);
}

// The discs that a player turns over by playing on a square: none if the move is not legal.
export function flips(board, square, player, size = 8) {
  if (board[square]) return [];
  const turned = [];
  for (const ray of rays(size)[square]) {
    let n = 0;
    while (n < ray.length && board[ray[n]] === 3 - player) n += 1;
    if (n > 0 && n < ray.length && board[ray[n]] === player) turned.push(...ray.slice(0, n));
  }
  return turned;
}

export function legalMoves(board, player, size = 8) {
  const moves = [];
  for (let square = 0; square < 64; square += 1) if (flips(board, square, player, size).length) moves.push(square);
  return moves;
}

// A position: board, toMove (0 when the game is over), legal moves; and how it came about: the square played
// last (-1 at the start), who played there, the discs turned over, who had to pass after it (0 for nobody).
export function start(size = 8) {
  const board = new Uint8Array(64);
  board[27] = board[36] = 2; // d4, e5
  board[28] = board[35] = 1; // e4, d5
  return { size, board, toMove: 1, legal: legalMoves(board, 1, size), last: -1, mover: 0, flipped: [], passed: 0 };
}

// The position after a move. Throws an Error that says why a move is not legal.
export function play(position, square) {
  const { size, toMove } = position;
  const flipped = toMove ? flips(position.board, square, toMove, size) : [];
  if (!flipped.length) throw new Error(whyIllegal(position, square));
  const board = position.board.slice();
  for (const disc of [square, ...flipped]) board[disc] = toMove;
  const other = 3 - toMove;
  const theirs = legalMoves(board, other, size);
  const mine = theirs.length ? [] : legalMoves(board, toMove, size);
  const next = theirs.length ? other : mine.length ? toMove : 0;
  const legal = theirs.length ? theirs : mine;
  return { size, board, toMove: next, legal, last: square, mover: toMove, flipped, passed: next === toMove ? other : 0 };
}

function whyIllegal({ size, board, toMove, legal }, square) {
  const name = squareName(square);
  if (!toMove) return `${name} cannot be played: the game is over`;
  const inside = lines(size);
  const reason = !inside.includes(square >> 3) || !inside.includes(square % 8) ? `there is no such square on ${size}x${size}`
    : board[square] ? "the square is taken" : "it turns nothing over";
  return `${PLAYERS[toMove]} cannot play ${name}: ${reason} (legal: ${legal.map(squareName).join(", ")})`;
}

// Why the disc of a square, such as "d3", cannot be thought of as the other player's; "" where it can.
export function whyNoFlip({ size, board, toMove }, name) {
  const square = parseSquare(name), inside = lines(size);
  if (!inside.includes(square >> 3) || !inside.includes(square % 8)) return `there is no such square on ${size}x${size}`;
  return !board[square] ? "no disc is there to turn over" : !toMove ? "the game is over" : "";
}

// All positions of a game, the start first: one more than there are moves.
export function replay(moves, size = 8) {
  const positions = [start(size)];
  for (const [ply, square] of moves.entries()) {
    try {
      positions.push(play(positions[ply], square));
    } catch (error) {
      throw new Error(`Move ${ply + 1}: ${error.message}`);
    }
  }
  return positions;
}

// A game as people write it, by the rules of `board.py`: who changes one changes both. Whatever is not a
// separator is a word; a word of none of the named kinds is refused.
const SPACE = "\\s\\x1c-\\x1f\\x85"; // what JavaScript and Python, each a little differently, take for white space
const SCORE = "[0-9]{1,2}(?:/2)?";
const TRANSCRIPT_WORD = new RegExp([
  "(?<square>[a-h][1-8])", "(?<passed>--|pass|pa|ps)", `(?<number>[0-9]+[${SPACE}]*\\.+)`,
  `(?<result>(?:\\*|${SCORE}-${SCORE})(?![^${SPACE},;|]))`, `(?<other>[^${SPACE},;|-]+)`,
].join("|"), "g");

// Moves from a text: squares in any case, together or apart (spaces, "," ";" "|" "-"), with or without move
// numbers ("1. f5 d6"), passes ("--", "pa", "ps", "pass"), a result at the end and comments ("# …"). Throws an
// Error that names the first word that is none of these, or the first move or pass that is not legal.
export function parseTranscript(text, size = 8) {
  const moves = [], passes = [];
  let result = null;
  for (const { 0: word, groups } of text.toLowerCase().replace(/#[^\n]*/g, " ").matchAll(TRANSCRIPT_WORD)) {
    const where = `Move ${moves.length + 1}`, excerpt = [...word].slice(0, 20).join("");
    if (result) throw new Error(`${where}: “${excerpt}” follows the result ${result}`);
    if (groups.square) moves.push(parseSquare(word));
    else if (groups.passed) passes.push(moves.length);
    else if (groups.result) result = word;
    else if (groups.other) throw new Error(`${where}: “${excerpt}” is neither a square (a1 to h8) nor a pass`);
  }
  const positions = replay(moves, size);
  for (const ply of passes) checkPasses(positions[ply], passes.filter((at) => at === ply).length, ply);
  return moves;
}

// Passes that are written must be those that the rules force: one behind a move, or both players' at the end.
function checkPasses({ toMove, passed, legal }, written, ply) {
  if (written > (toMove === 0 ? 2 : passed ? 1 : 0)) {
    throw new Error(`Move ${ply + 1}: ${PLAYERS[toMove]} passes but can play ${legal.map(squareName).join(", ") || "nothing"}`);
  }
}

export const transcript = (moves) => moves.map(squareName).join("");

// Tokens of the network: 0 is padding, then the playable squares in order, without the four in the centre.
export function vocabulary(size = 8) {
  const inside = lines(size), centre = [27, 28, 35, 36], token = new Int16Array(64).fill(-1), square = [-1];
  for (const row of inside) {
    for (const column of inside) {
      const at = 8 * row + column;
      if (centre.includes(at)) continue;
      token[at] = square.length;
      square.push(at);
    }
  }
  return { token, square }; // token[square], square[token]
}
