// Which files the browser shows exactly as the server does, and what it draws for them.

const HEAD_BYTES = 65536;

/** Whether the browser reads the file as the server does: an 8-bit PNG or a JPEG of one or three channels. */
export async function isShownHere(file) {
  const head = new Uint8Array(await file.slice(0, HEAD_BYTES).arrayBuffer());
  if (startsWith(head, [0x89, 0x50, 0x4e, 0x47])) return head[24] === 8 && [0, 2].includes(head[25]);
  if (startsWith(head, [0xff, 0xd8, 0xff])) return [1, 3].includes(jpegChannels(head));
  return false;
}

const startsWith = (bytes, start) => start.every((value, index) => bytes[index] === value);

function jpegChannels(bytes) {
  for (let place = 2; place + 9 < bytes.length && bytes[place] === 0xff; ) {
    const marker = bytes[place + 1];
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (isFrame) return bytes[place + 9];
    place += 2 + bytes[place + 2] * 256 + bytes[place + 3];
  }
  return 0;
}

/** Decode a file or a response's original, upright and without color management. */
export function bitmapOf(blob) {
  return createImageBitmap(blob, { imageOrientation: "from-image", colorSpaceConversion: "none" });
}

export function blobOf(base64, type) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return new Blob([bytes], { type });
}

/** Return a canvas of a bitmap's pixels. */
export function canvasOf(width, height, draw) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  draw(canvas.getContext("2d", { willReadFrequently: true }));
  return canvas;
}
