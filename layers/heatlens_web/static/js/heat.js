// A signed map on the layer's grid -> heat in 0..1 -> 8-bit levels at the image's size, as the server draws them.

export const SIGNED = new Set(["coolwarm", "seismic"]); // their middle color means no evidence
const MIDDLE = 128;
const WHOLE = [0, 0, 1, 1];

/** Decode the map of a response: { height, width, values: Float32Array, box, part }. */
export function readMap({ shape: [height, width], data_base64: text, box, part }) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return { height, width, values: new Float32Array(bytes.buffer), box, part: part ?? WHOLE };
}

/** Decode a NumPy file of a map: { height, width, values }. */
export function readNpy(buffer) {
  const start = 10 + new DataView(buffer).getUint16(8, true);
  const head = new TextDecoder("latin1").decode(new Uint8Array(buffer, 10, start - 10));
  const [, height, width] = head.match(/'shape': \((\d+), (\d+)\)/).map(Number);
  return { height, width, values: new Float32Array(buffer.slice(start)) };
}

/** Return the value that is drawn as full heat; 0 if there is nothing to draw. */
export function fullHeat(map, { signed, full }) {
  if (full) return full;
  const sizes = signed ? map.values.map(Math.abs) : map.values;
  return Math.max(0, sizes.reduce((most, value) => Math.max(most, value), 0));
}

/** Scale a map to heat in 0..1: positive evidence, or for signed colormaps 0.5 plus half of the evidence. */
export function heatOf(map, { signed, full }) {
  const most = fullHeat(map, { signed, full });
  const clipped = (value) => Math.min(1, Math.max(0, value));
  if (signed) return map.values.map((value) => clipped(0.5 + value / (2 * (most || 1))));
  return map.values.map((value) => (most ? clipped(value / most) : 0));
}

/** Enlarge heat to levels 0..255 of the box's width x height pixels: bilinear, or the layer's cells as squares. */
export function levelsInBox(map, heat, width, height, { cells = false } = {}) {
  return resized(map, heat.map((value) => value * 255 + 0.5), width, height, cells);
}

/** Return the levels of the whole image; outside of what the model saw is no heat. */
export function levelsOf(map, heat, width, height, { signed, cells }) {
  const [left, top, right, bottom] = map.box;
  const inside = levelsInBox(map, heat, right - left, bottom - top, { cells });
  const levels = new Uint8Array(width * height).fill(noHeat(signed));
  for (let y = top; y < bottom; y++) {
    levels.set(inside.subarray((y - top) * (right - left), (y - top + 1) * (right - left)), y * width + left);
  }
  return levels;
}

/** The level that means no heat. */
export const noHeat = (signed) => (signed ? MIDDLE : 0);

// Two passes with float32 between them, like Pillow's resize of float images.
function resized(map, exact, width, height, cells) {
  const [left, top, right, bottom] = map.part;
  const across = weights(map.width, left * map.width, right * map.width, width, cells);
  const down = weights(map.height, top * map.height, bottom * map.height, height, cells);
  const wide = new Float32Array(width * map.height);
  for (let y = 0; y < map.height; y++) {
    for (let x = 0; x < width; x++) {
      const { first, share } = across[x];
      let sum = 0;
      for (let k = 0; k < share.length; k++) sum += exact[y * map.width + first + k] * share[k];
      wide[y * width + x] = sum;
    }
  }
  const levels = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    const { first, share } = down[y];
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (let k = 0; k < share.length; k++) sum += wide[(first + k) * width + x] * share[k];
      levels[y * width + x] = Math.min(255, Math.max(0, Math.fround(sum)));
    }
  }
  return levels;
}

// For each output pixel the input cells that it takes, and the share of each: a triangle, widened where it shrinks.
function weights(cellCount, from, to, pixels, cells) {
  const scale = (to - from) / pixels;
  const support = Math.max(scale, 1);
  return Array.from({ length: pixels }, (_, pixel) => {
    const center = from + (pixel + 0.5) * scale;
    if (cells) return { first: Math.min(cellCount - 1, Math.floor(center)), share: [1] };
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const last = Math.min(cellCount, Math.trunc(center + support + 0.5));
    const share = Array.from({ length: last - first }, (_, k) =>
      Math.max(0, 1 - Math.abs((first + k - center + 0.5) / support)),
    );
    const sum = share.reduce((total, value) => total + value, 0);
    return { first, share: share.map((value) => value / sum) };
  });
}

/** Return the grid cell and the map's value under a pixel, or null outside of what the model saw. */
export function cellAt(map, x, y) {
  const [left, top, right, bottom] = map.box;
  if (x < left || y < top || x >= right || y >= bottom) return null;
  const [partLeft, partTop, partRight, partBottom] = map.part;
  const across = partLeft + ((x - left) / (right - left)) * (partRight - partLeft);
  const down = partTop + ((y - top) / (bottom - top)) * (partBottom - partTop);
  const column = Math.min(map.width - 1, Math.floor(across * map.width));
  const row = Math.min(map.height - 1, Math.floor(down * map.height));
  return { column, row, value: map.values[row * map.width + column] };
}
