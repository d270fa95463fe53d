// Many images: a grid with progress, sorting, and failures in place.
import { colored } from "./colors.js";
import { heatOf, levelsInBox, readMap } from "./heat.js";
import { blobFor } from "./items.js";
import { bitmapOf, canvasOf } from "./pictures.js";
import { percent, QUALITY, UNFAMILIAR } from "./words.js";

const SIDE = 160; // pixels of a thumbnail's longer side
const WORST = { empty: 1, weak: 2, ok: 3 };
const STATES = { waiting: "Waiting", staged: "In the batch", uploading: "Uploading…", working: "Explaining…", cancelled: "Cancelled", failed: "Failed" };
const element = (id) => document.getElementById(id);

/** Draw a thumbnail of an explained item with its heat. */
export async function thumbnailOf(item, table) {
  const { answer, explanations } = item.latest;
  const explanation = explanations.get(answer.prediction.label) ?? [...explanations.values()][0];
  const map = (explanation.read ??= readMap(explanation.map));
  const bitmap = await bitmapOf(blobFor(item, explanation));
  const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
  const size = (pixels) => Math.max(1, Math.round(pixels * scale));
  const [left, top, right, bottom] = map.box;
  const [width, height] = [size(right - left), size(bottom - top)];
  const levels = levelsInBox(map, heatOf(map, { signed: false }), width, height);
  const heat = canvasOf(width, height, (context) => context.putImageData(colored(levels, width, height, table, 0.25), 0, 0));
  const thumbnail = canvasOf(size(bitmap.width), size(bitmap.height), (context) => {
    context.drawImage(bitmap, 0, 0, size(bitmap.width), size(bitmap.height));
    if (explanation.drawn) return;
    context.globalAlpha = 0.5;
    context.drawImage(heat, left * scale, top * scale, (right - left) * scale, (bottom - top) * scale);
  });
  bitmap.close();
  return thumbnail;
}

export class Tray {
  constructor({ onSelect, onRetry }) {
    Object.assign(this, { onSelect, onRetry, entries: new Map() });
  }

  /** Show the items, in the chosen order. */
  show(items, selected) {
    element("tray").hidden = items.length < 2;
    const ordered = sorted(items, element("sort").value);
    element("items").replaceChildren(...ordered.map((item) => this.entry(item, item === selected)));
    const count = (state) => items.filter((item) => item.state === state).length;
    const [done, failed, cancelled] = ["done", "failed", "cancelled"].map(count);
    Object.assign(element("progress"), { max: items.length, value: done + failed + cancelled });
    const parts = [`${done} of ${items.length} explained`, failed && `${failed} failed`, cancelled && `${cancelled} cancelled`];
    element("progress-text").textContent = parts.filter(Boolean).join(", ");
    const isBusy = done + failed + cancelled < items.length;
    element("progress").hidden = !isBusy;
    element("cancel").hidden = !isBusy;
    element("retry-failed").hidden = isBusy || failed + cancelled === 0;
  }

  entry(item, isSelected) {
    const known = this.entries.get(item.id);
    const key = `${item.state} ${isSelected} ${Boolean(item.thumbnail)} ${item.state === "done" && answered(item).join(" ")}`;
    if (known?.key === key) return known.made;
    const made = document.createElement("li");
    made.dataset.state = item.state;
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", String(isSelected));
    button.append(item.thumbnail ?? document.createElement("span"), ...lines(item));
    button.addEventListener("click", () => this.onSelect(item));
    made.append(button);
    if (["failed", "cancelled"].includes(item.state)) {
      const retry = Object.assign(document.createElement("button"), { type: "button", className: "small", textContent: "Try again" });
      retry.setAttribute("aria-label", `Try ${item.name} again`);
      retry.addEventListener("click", () => this.onRetry([item]));
      made.append(retry);
    }
    this.entries.set(item.id, { key, made });
    return made;
  }
}

function lines(item) {
  const line = (className, text) => Object.assign(document.createElement("span"), { className, textContent: text });
  const name = line("name", item.name);
  name.title = item.name;
  if (item.state !== "done") return [name, line("state", item.state === "failed" ? item.error.message : STATES[item.state])];
  const [label, probability, quality, isUnfamiliar] = answered(item);
  return [
    name,
    line("class", `${label} ${percent(probability)}`),
    ...(quality ? [line(`quality ${quality}`, QUALITY[quality])] : []),
    ...(isUnfamiliar ? [line("quality weak", UNFAMILIAR)] : []),
  ];
}

// The predicted class, its probability and the quality of its own map, whatever class is looked at; and whether to rely on them.
function answered({ latest: { answer, explanations } }) {
  const { label, probability } = answer.prediction;
  return [label, probability, explanations.get(label)?.quality ?? null, answer.familiarity?.unfamiliar ?? false];
}

function trust(item) {
  if (!item.latest) return 4;
  const [, , quality, isUnfamiliar] = answered(item);
  return isUnfamiliar ? 0 : (WORST[quality] ?? 4);
}

function sorted(items, order) {
  const value = {
    added: (item) => item.id,
    class: (item) => item.latest?.answer.prediction.label ?? "\uffff",
    margin: (item) => item.latest?.answer.prediction.margin ?? Infinity,
    quality: trust,
  }[order];
  const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  return [...items].sort((a, b) => compare(value(a), value(b)) || a.id - b.id);
}
