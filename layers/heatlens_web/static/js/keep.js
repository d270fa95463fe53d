// Files to keep: overlay, report, map and JSON; and the request as curl or Python.
import { blend, colored } from "./colors.js";
import { heatOf, levelsOf } from "./heat.js";
import { canvasOf } from "./pictures.js";
import { familiarityText, number, percent, qualityText } from "./words.js";

/** The overlay at the picture's size, with the server's arithmetic. */
export function overlayCanvas({ source, width, height }, map, look, alpha) {
  return canvasOf(width, height, (context) => {
    context.drawImage(source, 0, 0, width, height);
    const levels = levelsOf(map, heatOf(map, look), width, height, look);
    const colors = colored(levels, width, height, look.table, look.threshold);
    context.putImageData(blend(context.getImageData(0, 0, width, height), colors, alpha), 0, 0);
  });
}

/** A NumPy file of the signed map. */
export function npyOf(map) {
  const head = `{'descr': '<f4', 'fortran_order': False, 'shape': (${map.height}, ${map.width}), }`;
  const padded = `${head.padEnd(128 - 10 - 1)}\n`;
  const start = new Uint8Array([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, padded.length & 255, padded.length >> 8]);
  return new Blob([start, padded, map.values.buffer], { type: "application/octet-stream" });
}

/** A picture of original, overlay, colors and facts, for a slide or a note. */
export function reportCanvas(shown, look, alpha, most) {
  const { picture, item, answer, explanation } = shown;
  const side = 720;
  const scale = Math.min(side / picture.width, side / picture.height);
  const [width, height] = [Math.round(picture.width * scale), Math.round(picture.height * scale)];
  const facts = reportFacts(item, answer, explanation, alpha);
  const [margin, line] = [32, 24];
  const total = [Math.max(2 * width + 3 * margin, 900), height + 3 * margin + 60 + line * facts.length + 16];
  return canvasOf(...total, (context) => {
    context.fillStyle = "white";
    context.fillRect(0, 0, ...total);
    context.imageSmoothingQuality = "high";
    context.drawImage(picture.source, margin, margin, width, height);
    context.drawImage(overlayCanvas(picture, explanation.read, look, alpha), 2 * margin + width, margin, width, height);
    drawScale(context, margin, height + 2 * margin, total[0] - 2 * margin, look, most);
    context.font = "16px system-ui, sans-serif";
    facts.forEach((text, index) => context.fillText(text, margin, height + 3 * margin + 60 + line * index, total[0] - 2 * margin));
  });
}

function drawScale(context, x, y, width, look, most) {
  for (let pixel = 0; pixel < width; pixel++) {
    const level = Math.round((255 * pixel) / (width - 1));
    context.fillStyle = `rgb(${look.table.subarray(3 * level, 3 * level + 3).join(" ")})`;
    context.fillRect(x + pixel, y, 1, 16);
  }
  context.fillStyle = "black";
  context.font = "14px system-ui, sans-serif";
  context.fillText(look.signed ? number(-most) : "0", x, y + 34);
  context.textAlign = "right";
  context.fillText(`${number(most)} (evidence in logits per cell)`, x + width, y + 34);
  context.textAlign = "left";
}

function reportFacts(item, answer, explanation, alpha) {
  const { model, prediction } = answer;
  return [
    `${item.name}, ${answer.width} × ${answer.height}`,
    `Model's answer: ${prediction.label}, ${percent(prediction.probability)}`,
    `Map of “${explanation.label}”${explanation.contrast ? ` in contrast to “${explanation.contrast}”` : ""}: ${qualityText(explanation.quality, explanation.label)}`,
    `Image: ${familiarityText(answer.familiarity)}`,
    `${model.name} ${model.version}, ${model.method} at ${model.layer}, ${model.engine} ${model.precision}, opacity ${Math.round(alpha * 100)} %`,
    `Model ${model.sha256.slice(0, 16)}${answer.request_id ? `, request ${answer.request_id}` : ""}`,
    model.notice,
    "The map shows what the model used. It is not a segmentation, and not a diagnosis.",
  ].filter(Boolean);
}

/** Offer a file under a name. */
export function save(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** The request as a command. */
export function curlOf(address, query, name, withToken) {
  const token = withToken ? ' -H "Authorization: Bearer $TOKEN"' : "";
  return `curl -fsSL${token} -F ${quoted(`file=@"${name.replaceAll(/["\\]/g, "\\$&")}"`)} ${quoted(`${address}?${query}`)}`;
}

/** The request as a Python program. */
export function pythonOf(address, query, name, withToken) {
  const token = withToken ? `, headers={"Authorization": f"Bearer {os.environ['TOKEN']}"}` : "";
  return `${withToken ? "import os\n\n" : ""}import requests

with open(${JSON.stringify(name)}, "rb") as image:
    response = requests.post(
        ${JSON.stringify(`${address}?${query}`)}, files={"file": image}, timeout=60${token}
    )
response.raise_for_status()
print(response.json()["prediction"])
`;
}
