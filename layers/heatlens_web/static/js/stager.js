// Items that are too large for one request, or too many, go through staged batches, one batch at a time.
import { ApiError } from "./api.js";
import { cancel, erase, failureOf, follow, inParallel, isOpen, readResult, upload } from "./batch.js";
import { record, setState } from "./items.js";
import { isShownHere } from "./pictures.js";
import { batchOptionsOf } from "./question.js";

const element = (id) => document.getElementById(id);
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
const sizeOf = (items) => items.reduce((sum, { file }) => sum + file.size, 0);
const isOver = ({ state }) => ["done", "failed", "cancelled"].includes(state);

export class Stager {
  /** `question` returns what is asked now, `limits` those of the server's batches; `changed` is called with items. */
  constructor({ question, limits, changed, failed }) {
    Object.assign(this, { question, limits, changed, failed, waiting: [], control: null, ids: [] });
    element("batch-cancel").addEventListener("click", () => this.cancel());
    element("batch-erase").addEventListener("click", () => this.erase());
  }

  add(items) {
    for (const item of items) this.set(item, "staged");
    this.waiting.push(...items);
  }

  get isBusy() {
    return this.control !== null;
  }

  /** Send what waits, unless a batch is running: it goes on with the rest afterwards. */
  async start() {
    if (this.isBusy || !this.waiting.length) return;
    this.control = new AbortController();
    while (this.waiting.length) await this.run(this.next());
    this.control = null;
    this.showEnd();
  }

  // Files of one batch have the same class; a batch takes so many files.
  next() {
    const { label } = this.waiting[0];
    const taken = this.waiting.filter((item) => item.label === label).slice(0, this.limits().batch_files);
    this.waiting = this.waiting.filter((item) => !taken.includes(item));
    return taken;
  }

  async run(taken) {
    const limits = this.limits();
    const items = taken.filter((item) => this.isAccepted(item, limits));
    if (!items.length) return;
    const { signal } = this.control;
    const asked = this.question();
    this.show(items);
    try {
      for (const item of items) item.shownHere ??= await isShownHere(item.file);
      const options = batchOptionsOf(asked, { label: items[0].label, drawn: items.some((item) => !item.shownHere) });
      const made = (id) => { this.ids.push(this.id = id); };
      for (const item of items) this.set(item, "uploading");
      await upload(items, options, limits, signal, { made, report: (bytes) => this.showUpload(bytes, items) });
      for (const item of items) this.set(item, "staged");
      this.showUpload(sizeOf(items), items);
      await follow(this.id, signal, {
        report: (status) => this.showDone(status),
        read: (results) => this.read(results, items, asked, signal),
        lost: (error) => { element("batch-text").textContent = `${error.message} Trying again…`; },
      });
    } catch (error) {
      this.end(items, error);
    }
  }

  isAccepted(item, limits) {
    if (item.file.size <= limits.file_bytes) return true;
    item.error = new ApiError({ status: 413, message: `The file has ${megabytes(item.file.size)}; at most ${megabytes(limits.file_bytes)} are allowed.` });
    this.set(item, "failed");
    return false;
  }

  async read(results, items, asked, signal) {
    const byNumber = new Map(items.map((item) => [item.number, item]));
    const ended = results.filter(({ number, state }) => !isOver(byNumber.get(number)) && !isOpen({ state }));
    await inParallel(ended, async (result) => {
      const item = byNumber.get(result.number);
      if (result.state === "OK") await this.finish(item, result, asked, signal);
      else if (result.state === "CANCELLED") this.set(item, "cancelled");
      else {
        item.error = failureOf(result);
        this.set(item, "failed");
      }
    });
  }

  async finish(item, result, asked, signal) {
    const { answer, picture, explanation } = await readResult(result, signal, { drawn: !item.shownHere });
    explanation.drawn = picture;
    record(item, asked, answer, new Map([[explanation.label, explanation]]), [answer.prediction]);
    this.set(item, "done");
  }

  /** Stop everything: uploads, and in the batch what has not started. */
  cancel() {
    for (const item of this.waiting.splice(0)) this.set(item, "cancelled");
    this.control?.abort(); // the loop of `start` ends
  }

  end(items, error) {
    const isCancelled = error.name === "AbortError";
    if (isCancelled && this.id) cancel(this.id).catch(this.failed);
    for (const item of items.filter((each) => !isOver(each))) {
      item.error = error;
      this.set(item, isCancelled ? "cancelled" : "failed");
    }
  }

  async erase() {
    try {
      for (const id of this.ids) await erase(id);
      this.ids = [];
      element("batch").hidden = true;
    } catch (error) {
      this.failed(error);
    }
  }

  set(item, state) {
    setState(item, state);
    this.changed(item);
  }

  // ---- the bars

  show(items) {
    this.id = null;
    const files = items.length === 1 ? "1 file is" : `${items.length} files are`;
    element("batch-text").textContent = `${files} too large or too many for single requests: uploaded to this server’s bucket and explained there.`;
    element("batch").hidden = false;
    element("batch-cancel").hidden = false;
    element("batch-erase").hidden = true;
    this.showUpload(0, items);
    this.showDone(null, items.length);
  }

  showUpload(bytes, items) {
    const all = sizeOf(items);
    Object.assign(element("batch-upload"), { max: all, value: bytes });
    element("batch-upload-text").textContent = `${megabytes(bytes)} of ${megabytes(all)}`;
  }

  showDone(status, total = status.declared_files) {
    const { OK = 0, FAILED = 0, CANCELLED = 0, MISSING = 0 } = status?.counts ?? {};
    const ended = OK + FAILED + CANCELLED + MISSING;
    Object.assign(element("batch-done"), { max: total, value: ended });
    element("batch-done-text").textContent = `${ended} of ${total}`;
  }

  showEnd() {
    element("batch-cancel").hidden = true;
    element("batch-erase").hidden = this.ids.length === 0;
    element("batch-text").textContent = this.ids.length
      ? "The uploads and results stay in the server’s bucket until they expire, or until you erase them." : "Nothing was uploaded.";
  }
}
