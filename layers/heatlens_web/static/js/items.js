// The chosen images: each waits, is explained, and is done or has failed. A few are explained at a time.
import { ApiError, explain } from "./api.js";
import { bitmapOf, blobOf, isShownHere } from "./pictures.js";
import { explanationsOf, keyOf, queryOf } from "./question.js";

const AT_A_TIME = 2;
let count = 0;

// Without the marks that turn the direction of what follows: `exe.png` would be read of another file.
const shownName = (name) => name.replace(/[\u202a-\u202e\u2066-\u2069]/g, "\ufffd");

export function makeItem(file) {
  return { id: ++count, file, name: shownName(file.name) || "pasted image", state: "waiting", answers: new Map(), error: null, scores: new Map() };
}

/** The answer that an item has to a question, with a map of the class `label` if that is given; else null. */
export function answerTo(item, question, label = null) {
  const known = item.answers.get(keyOf(question));
  return known && (!label || known.explanations.has(label)) ? known : null;
}

/** Ask the server about an item, unless it has answered this already. Returns { answer, explanations }. */
export async function ask(item, question, classCount, { label = null, signal } = {}) {
  const answered = answerTo(item, question, label);
  if (answered) return answered;
  await checkReadable(item.file);
  item.shownHere ??= await isShownHere(item.file);
  const original = !item.shownHere && !item.original;
  const answer = await explain(item.file, queryOf(question, classCount, { label, original }), signal);
  if (answer.original_image_base64) item.original = blobOf(answer.original_image_base64, answer.original_media_type);
  delete answer.original_image_base64;
  return record(item, question, answer, explanationsOf(answer));
}

/** Keep an answer with its explanations by label, and the scores of classes: those explained, and others that it names. */
export function record(item, question, answer, explained, others = []) {
  const explanations = new Map([...(answerTo(item, question)?.explanations ?? []), ...explained]);
  item.latest = { answer, explanations, question };
  item.answers.set(keyOf(question), item.latest);
  const scores = item.scores.get(answer.model.name) ?? new Map();
  for (const { label, probability } of [...others, ...explained.values()]) scores.set(label, { label, probability });
  item.scores.set(answer.model.name, scores);
  return item.latest;
}

/** Give an item a state; its error is that of the state `failed`. */
export function setState(item, state) {
  item.state = state;
  if (state !== "failed") item.error = null;
}

/** Whether an item waits for an answer. */
export const isUnderWay = ({ state }) => state === "waiting" || state === "working";

async function checkReadable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    throw new ApiError({ message: "The file cannot be read: it is a folder, or it was moved or changed.", advice: "Choose it again." });
  }
}

/** What is shown below the heat of an explanation: for a file that only the server can read, what the server has drawn. */
export const blobFor = (item, explanation) => explanation.drawn ?? item.original ?? item.file;

/** The picture of an explained item at the size that the map was made for; `again` asks for the server's own picture. */
export async function pictureOf(item, explanation, again) {
  const blob = blobFor(item, explanation);
  if (item.picture?.blob === blob) return item.picture;
  const { answer } = item.latest;
  const source = await bitmapOf(blob);
  const { width, height } = source;
  if (width === answer.width && height === answer.height) return { blob, source, width, height };
  if (!item.shownHere) throw new Error("the server's picture has another size than the map");
  item.shownHere = false; // the browser reads the file in another way
  item.answers.clear();
  await again(item);
  return pictureOf(item, explanation, again);
}

/** Explains waiting items in order; `changed` is called with each item whose state changes, to `done` or what `work` returns. */
export class Queue {
  constructor(work, changed) {
    Object.assign(this, { work, changed, waiting: [], running: new Map() });
  }

  add(wanted, { first = false } = {}) {
    const items = wanted.filter((item) => !this.waiting.includes(item) && !this.running.has(item));
    for (const item of items) this.set(item, "waiting");
    this.waiting = first ? [...items, ...this.waiting] : [...this.waiting, ...items];
    this.start();
  }

  /** Stop everything that waits or runs. */
  cancel() {
    for (const item of this.waiting.splice(0)) this.set(item, "cancelled");
    for (const control of this.running.values()) control.abort();
  }

  get isBusy() {
    return this.waiting.length + this.running.size > 0;
  }

  start() {
    while (this.running.size < AT_A_TIME && this.waiting.length) this.run(this.waiting.shift());
  }

  async run(item) {
    const control = new AbortController();
    this.running.set(item, control);
    this.set(item, "working");
    try {
      this.finish(item, (await this.work(item, control.signal)) ?? "done");
    } catch (error) {
      item.error = error;
      this.finish(item, error.name === "AbortError" ? "cancelled" : "failed");
    }
  }

  finish(item, state) {
    this.running.delete(item);
    this.set(item, state);
    this.start();
  }

  set(item, state) {
    setState(item, state);
    this.changed(item);
  }
}
