// One staged batch: files are uploaded straight to the bucket and explained there; their results are read as they come.
import { ApiError, request } from "./api.js";
import { readNpy } from "./heat.js";
import { failureText } from "./words.js";

const UPLOADS = 4; // at a time
const ROUNDS = 3; // of uploads: what did not arrive is signed and sent again
const WAITS_S = [1, 2, 5]; // between looks at the status; counts are 5 s old at most
const NAME_BYTES = 255;
const PAGE = 200;
const ENDED = new Set(["succeeded", "partial", "failed", "cancelled", "expired"]);
const BATCHES = "api/inference/batches";

const sent = (path, body, signal, headers = {}) =>
  request(path, { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json", ...headers }, signal });

/** Create a batch, upload the files of `items` and close it. Returns its id; `report(uploadedBytes)` is called. */
export async function upload(items, options, limits, signal, { made, report }) {
  const key = { "idempotency-key": crypto.randomUUID?.() ?? String(Math.random()) };
  const files = [];
  for (const item of items) files.push(await declarationOf(item.file)); // one after another: each is read whole
  signal.throwIfAborted();
  const { batch_id: id } = await sent(BATCHES, { expected_files: items.length, ...options }, signal, key);
  made(id);
  let links = [];
  for (let start = 0; start < files.length; start += limits.call_files) {
    const answer = await sent(`${BATCHES}/${id}/files`, { files: files.slice(start, start + limits.call_files) }, signal);
    answer.files.forEach((link, index) => { items[start + index].number = link.number; });
    links.push(...answer.files);
  }
  const byNumber = new Map(items.map((item) => [item.number, item]));
  const arrived = new Map(); // bytes by number
  for (let round = 0; round < ROUNDS && links.length; round++) {
    if (round > 0) links = await missing(id, signal);
    await inParallel(links, (link) => put(link, byNumber.get(link.number).file, signal, (bytes) => {
      arrived.set(link.number, bytes);
      report([...arrived.values()].reduce((sum, each) => sum + each, 0));
    }));
  }
  await request(`${BATCHES}/${id}/close`, { method: "POST", signal });
}

async function missing(id, signal) {
  const links = [];
  for (let start = 0; start !== null;) {
    const page = await request(`${BATCHES}/${id}/files/links?start=${start}`, { method: "POST", signal });
    links.push(...page.files);
    start = page.next;
  }
  return links;
}

async function declarationOf(file) {
  if (!crypto.subtle) {
    throw new ApiError({ message: "The browser computes the digests of files only for pages over HTTPS.", advice: "Open this page with https, or send smaller files." });
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await file.arrayBuffer()));
  const sha256 = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return { name: shortened(file.name || "pasted image"), size: file.size, sha256, media_type: mediaType(file) };
}

function mediaType({ type, name }) {
  if (/^(image\/[!-~]+|application\/dicom[!-~]*)$/.test(type)) return type;
  return /\.(dcm|dicom)$/i.test(name) ? "application/dicom" : "image/x-unknown"; // the server looks at the bytes
}

function shortened(name) {
  let text = name;
  while (new TextEncoder().encode(text).length > NAME_BYTES) text = text.slice(1); // the end tells more than the start
  return text;
}

// Resolves also where the upload failed: the next round signs it again, and after the last the file is missing.
function put({ url, headers }, file, signal, report) {
  return new Promise((resolve, reject) => {
    const call = new XMLHttpRequest(); // fetch does not tell how much of a body was sent
    const cancel = () => call.abort();
    signal.addEventListener("abort", cancel);
    call.open("PUT", url);
    for (const [name, value] of Object.entries(headers)) if (name.toLowerCase() !== "content-length") call.setRequestHeader(name, value);
    call.upload.onprogress = (event) => report(event.loaded);
    call.onload = () => report(file.size);
    call.onabort = () => reject(signal.reason);
    call.onloadend = () => {
      signal.removeEventListener("abort", cancel);
      resolve();
    };
    if (signal.aborted) reject(signal.reason);
    else call.send(file);
  });
}

/** Look until a batch has ended: `report(status)`, `read(results)` of each page, and `lost(error)` while nobody answers. */
export async function follow(id, signal, { report, read, lost }) {
  let next = 0; // the first file that has not ended
  for (let look = 0; ; look++) {
    await pause(WAITS_S[Math.min(look, WAITS_S.length - 1)], signal);
    try {
      const status = await request(`${BATCHES}/${id}`, { signal });
      report(status);
      next = await readFrom(id, next, signal, read);
      if (ENDED.has(status.state)) return;
    } catch (error) {
      if (!passes(error)) throw error;
      lost(error);
    }
  }
}

const passes = ({ status }) => status === 0 || status === 429 || status >= 500;

/** Whether a file of a batch has not ended. */
export const isOpen = ({ state }) => state === "PENDING" || state === "SUBMITTED";

// Returns the number of the first file that has not ended, or null if all have.
async function readFrom(id, first, signal, read) {
  for (let start = first; start !== null;) {
    const page = await request(`${BATCHES}/${id}/results?start=${start}&limit=${PAGE}`, { signal });
    await read(page.results);
    const open = page.results.find(isOpen);
    if (open) return open.number;
    start = page.next;
  }
  return null;
}

export const cancel = (id) => request(`${BATCHES}/${id}`, { method: "DELETE" });
export const erase = (id) => request(`${BATCHES}/${id}?purge=true`, { method: "DELETE" });

/** Read a result's document, its map and, where `drawn` asks for it, the server's overlay. */
export async function readResult({ links }, signal, { drawn }) {
  const load = async (url) => {
    const response = await fetch(url, { signal, credentials: "omit" });
    if (!response.ok) throw new ApiError({ status: response.status, message: "A result could not be read from the bucket." });
    return response;
  };
  const answer = await (await load(links.result)).json();
  const map = { ...readNpy(await (await load(links.map)).arrayBuffer()), box: answer.box, part: answer.part ?? [0, 0, 1, 1] };
  const picture = drawn && links.overlay ? await (await load(links.overlay)).blob() : null;
  const { explained, quality, regions, faithfulness } = answer;
  return { answer, picture, explanation: { ...explained, quality, regions, faithfulness, read: map } };
}

/** The error of a file that a batch could not explain. */
export const failureOf = ({ state, code }) =>
  new ApiError({ code: code ?? "", message: state === "MISSING" ? "The upload did not reach the bucket." : failureText(code) });

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const timer = setTimeout(resolve, seconds * 1000);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    }, { once: true });
    return undefined;
  });
}

/** Do something with each element, a few at a time. */
export async function inParallel(elements, work) {
  const waiting = [...elements];
  const worker = async () => {
    while (waiting.length) await work(waiting.shift());
  };
  await Promise.all(Array.from({ length: Math.min(UPLOADS, waiting.length) }, worker));
}
