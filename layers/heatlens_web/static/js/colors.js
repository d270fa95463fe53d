// Levels -> colors: the server's own tables of 256 RGB entries.

const tables = new Map();

/** Load the table of a colormap, once however many ask for it. */
export function colorTable(name) {
  if (!tables.has(name)) {
    const table = loadTable(name);
    tables.set(name, table);
    table.catch(() => tables.delete(name));
  }
  return tables.get(name);
}

async function loadTable(name) {
  const response = await fetch(`static/colormaps/${name}.rgb`);
  if (!response.ok) throw new Error(`the colormap ${name} could not be loaded`);
  return new Uint8Array(await response.arrayBuffer());
}

/** Color levels; those under the threshold are transparent. */
export function colored(levels, width, height, table, threshold = 0) {
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const from = Math.ceil(threshold * 255);
  const entries = Uint32Array.from({ length: 256 }, (_, level) => {
    const [red, green, blue] = table.subarray(3 * level, 3 * level + 3);
    const opaque = level < from ? 0 : 255;
    return ((opaque << 24) | (blue << 16) | (green << 8) | red) >>> 0;
  });
  for (let index = 0; index < pixels.length; index++) pixels[index] = entries[levels[index]];
  return image;
}

/** Blend colors over a picture in place: alpha * color + (1 - alpha) * picture, cut off as the server does. */
export function blend(picture, colors, alpha) {
  const under = picture.data;
  const over = colors.data;
  for (let index = 0; index < under.length; index += 4) {
    if (over[index + 3] === 0) continue;
    for (let channel = index; channel < index + 3; channel++) {
      under[channel] = Math.trunc(under[channel] + alpha * (over[channel] - under[channel]));
    }
  }
  return picture;
}
