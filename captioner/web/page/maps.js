// Attention maps: rows of columns, as the model's grid over the whole photo, squashed to a square.

export const EVERYWHERE = "all over the photo";
const COLUMNS = ["left", "", "right"];
const ROWS = ["upper", "", "lower"];
// Below this many times its fair share, no ninth of the photo stands out.
const EVEN = 1.3;
// From this share of the strongest ninth on, the second one is told too.
const CLOSE = 0.85;

/** Joins WordPieces to words; a word's map is its pieces' mean. */
export function wordsWithMaps(tokens, maps) {
  const words = [];
  tokens.forEach((token, index) => {
    if (token.startsWith("##") && words.length) {
      const word = words[words.length - 1];
      word.text += token.slice(2);
      word.maps.push(maps[index]);
    } else {
      words.push({ text: token, maps: [maps[index]] });
    }
  });
  return words.map(({ text, maps }) => ({ text, map: mean(maps) }));
}

function mean(maps) {
  return maps[0].map((row, y) =>
    row.map((_, x) => maps.reduce((sum, map) => sum + map[y][x], 0) / maps.length));
}

/**
 * Where a map is strongest, in words: the photo's ninths that hold most of it.
 *
 * EVERYWHERE where no ninth holds much more than its share.
 */
export function place(map) {
  const shares = ninths(map);
  const order = [...shares.keys()].sort((a, b) => shares[b] - shares[a]);
  if (shares[order[0]] < EVEN / 9) return EVERYWHERE;
  const told = order.slice(0, shares[order[1]] > CLOSE * shares[order[0]] ? 2 : 1);
  return told.map(nameOf).join(" and ");
}

function nameOf(ninth) {
  const row = Math.floor(ninth / 3), column = ninth % 3;
  if (row === 1) return COLUMNS[column] || "centre";
  return COLUMNS[column] ? `${ROWS[row]} ${COLUMNS[column]}` : { 0: "top", 2: "bottom" }[row];
}

/** The share of a map in each ninth of the photo, row by row; cells on a border are divided. */
function ninths(map) {
  const shares = new Array(9).fill(0);
  let total = 0;
  map.forEach((row, y) => row.forEach((weight, x) => {
    total += weight;
    for (let i = 0; i < 9; i++) {
      const high = overlap(y, map.length, Math.floor(i / 3)), wide = overlap(x, row.length, i % 3);
      shares[i] += weight * high * wide;
    }
  }));
  return shares.map((share) => (total > 0 ? share / total : 1 / 9));
}

/** How much of cell `index` of `count` lies in a third of the whole. */
function overlap(index, count, third) {
  const start = Math.max(index / count, third / 3);
  const end = Math.min((index + 1) / count, (third + 1) / 3);
  return Math.max(0, end - start) * count;
}

// The veil's opacity where the model looked least, of 255.
const VEIL = 215;

/** Draws a map as a veil that is clear where the model looked most. */
export function draw(canvas, map) {
  const rows = map.length, columns = map[0].length;
  const strongest = Math.max(...map.flat()) || 1;
  const small = new ImageData(columns, rows);
  map.flat().forEach((weight, index) => {
    small.data.set([8, 12, 18, VEIL * (1 - weight / strongest)], 4 * index);
  });
  const grid = document.createElement("canvas");
  grid.width = columns;
  grid.height = rows;
  grid.getContext("2d").putImageData(small, 0, 0);
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  context.drawImage(grid, 0, 0, canvas.width, canvas.height);
}
