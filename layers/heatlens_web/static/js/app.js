// The page: images come in, are explained one by one, and one of them is shown.
import { ApiError, hasToken, models, setToken } from "./api.js";
import { colorTable } from "./colors.js";
import { readMap, SIGNED } from "./heat.js";
import { listen, offerSamples } from "./intake.js";
import { answerTo, ask, isUnderWay, makeItem, pictureOf, Queue } from "./items.js";
import { curlOf, npyOf, overlayCanvas, pythonOf, reportCanvas, save } from "./keep.js";
import { Layer } from "./layer.js";
import { showResult } from "./panel.js";
import { queryOf } from "./question.js";
import { Stager } from "./stager.js";
import { thumbnailOf, Tray } from "./tray.js";
import { Viewer } from "./viewer.js";
import { choicesText, number, percent, WITHOUT_BUCKET } from "./words.js";

const element = (id) => document.getElementById(id);
const state = { items: [], selected: null, shown: null, cards: [], batches: null, refused: Infinity, view: "overlay", heat: true, turn: 0, drawing: 0 };

const viewer = new Viewer([element("pane-a"), element("pane-b")], { onHover: showHover, onSplit: splitAt });
const tray = new Tray({ onSelect: select, onRetry: (items) => queue.add(items) });
const queue = new Queue(work, changed);
const stager = new Stager({ question, limits: () => state.batches, changed, failed: showProblem });
const MANY = 100; // images; more go through a staged batch

// ---- models

async function loadModels() {
  try {
    await readModels();
  } catch (error) {
    if (error.status === 401) return askForToken();
    showProblem(error, loadModels);
  }
}

let reading = null; // one request, however many wait for it

async function readModels() {
  try {
    reading ??= models();
    const { models: cards, batches } = await reading;
    Object.assign(state, { cards, batches });
  } finally {
    reading = null;
  }
  const options = state.cards.map((card) => new Option(card.loaded ? card.name : `${card.name} (not loaded)`, card.name));
  element("model").replaceChildren(...options);
  element("model-field").hidden = state.cards.length < 2;
  showModel();
}

const card = () => state.cards.find(({ name }) => name === element("model").value) ?? state.cards[0];
const classes = () => card()?.classes ?? [];

function showModel() {
  const { notice, loaded, reason, methods = [], layers = [], output } = card();
  const text = loaded ? notice : `The model is not loaded: ${reason}`;
  element("notice").textContent = text ?? "";
  element("notice").hidden = !text;
  element("method").replaceChildren(...(methods ?? []).map((name) => new Option(name, name, name === "gradcam")));
  element("layer").replaceChildren(...(layers ?? []).map(({ name }) => new Option(name)));
  element("layer-field").hidden = (layers ?? []).length < 2;
  element("contrast").replaceChildren(new Option("no other class", ""), ...classes().map((name) => new Option(name)));
  element("contrast").parentElement.hidden = output === "sigmoid" || classes().length < 2;
  element("left").replaceChildren(new Option("original", ""), ...classes().map((name) => new Option(name)));
  element("class-names").replaceChildren(...classes().map((name) => new Option(name)));
  element("choices").textContent = choicesText(classes());
  showScales();
}

// ---- what is asked

function question() {
  const value = (id) => element(id).value;
  return {
    model: element("model-field").hidden ? "" : value("model"),
    method: value("method") === "gradcam" ? "" : value("method"),
    layer: element("layer").selectedIndex > 0 ? value("layer") : "",
    contrast: value("contrast"),
    regions: element("regions").checked,
    faithfulness: element("faithfulness").checked,
    threshold: element("regions").checked ? value("outline-level") : null,
  };
}

async function work(item, signal) {
  if (!state.cards.length) await readModels(); // an image may come before them
  if (isForBatch(item)) return stage(item);
  for (const label of [item.label, leftLabel()]) {
    const found = await ask(item, question(), classes().length, { label, signal }).catch((error) => refused(item, error));
    if (!found) return stage(item);
  }
  return "done";
}

function stage(item) {
  stager.add([item]);
  return "staged";
}

const isForBatch = ({ file }) => Boolean(state.batches) && file.size >= state.refused;

// A file that is too large for a request goes into a batch, and so do larger ones from then on.
function refused(item, error) {
  if (!error.isTooLarge) throw error;
  if (!state.batches) throw Object.assign(error, { advice: WITHOUT_BUCKET });
  if (error.code !== "limit.answer_bytes") state.refused = Math.min(state.refused, item.file.size);
}

// The state of an item has changed: show it in the tray, and in the viewer if it is the selected one.
async function changed(item) {
  tray.show(state.items, state.selected);
  if (item === state.selected && item.state === "failed" && !state.isChosen) passOver(item);
  if (!queue.isBusy) stager.start();
  if (item === state.selected) await showSelected();
  if (item.state === "done" && state.items.length > 1 && !item.thumbnail) {
    item.thumbnail = await thumbnailOf(item, await colorTable("inferno"));
    tray.show(state.items, state.selected);
  }
}

// The first of several images was shown without being chosen, and has failed: the next one takes its place.
function passOver(failed) {
  const next = state.items.slice(state.items.indexOf(failed) + 1).find((item) => item.state !== "failed");
  if (!next) return;
  state.selected = next;
  if (next.state === "done") showSelected();
}

function take(files) {
  const items = files.map(makeItem);
  if (!items.length) return;
  state.items.push(...items);
  Object.assign(state, { selected: items[0], isChosen: false });
  document.body.classList.add("started");
  element("start-over").hidden = false;
  const [empty, full] = [items.filter(({ file }) => !file.size), items.filter(({ file }) => file.size)];
  for (const item of empty) {
    item.error = new ApiError({ message: "The file is empty.", advice: "Choose another file." });
    queue.set(item, "failed");
  }
  if (full.length > MANY && state.batches) stager.add(full);
  else queue.add(full);
  stager.start();
}

function select(item) {
  Object.assign(state, { selected: item, isChosen: true });
  tray.show(state.items, item);
  if (item.state === "done") askIfNew(item);
  else showSelected();
}

/** Ask again about the selected item: a class, method, layer or test was chosen. */
function askAgain(label = state.shown?.explanation.label ?? null) {
  const item = state.selected;
  if (!item) return;
  item.label = label;
  askIfNew(item);
}

// What was answered before is shown again without a request, also after another question has failed.
function askIfNew(item) {
  const isKnown = (label) => answerTo(item, question(), label) !== null;
  if (isUnderWay(item)) showSelected();
  else if (isKnown(item.label) && isKnown(leftLabel())) queue.set(item, "done");
  else queue.add([item], { first: true });
}

// The class of the left pane, if two classes are compared; null is the original.
const leftLabel = () => (state.view === "pair" && element("left").value) || null;

// ---- what is shown

async function showSelected() {
  const item = state.selected;
  const mine = ++state.turn;
  showBusy(item);
  if (isUnderWay(item)) hideProblem();
  element("panes").setAttribute("aria-busy", String(!["failed", "cancelled"].includes(item.state)));
  if (item.state === "failed") showProblem(item.error, () => queue.add([item]), item.name);
  if (item.state !== "done") return;
  try {
    const { answer, explanations } = (item.latest = answerTo(item, question()) ?? item.latest);
    const wanted = item.label && explanations.has(item.label) ? item.label : answer.prediction.label;
    const explanation = explanations.get(wanted) ?? [...explanations.values()][0];
    const picture = await pictureOf(item, explanation, (each) => ask(each, question(), classes().length));
    if (mine !== state.turn) return;
    explanation.read ??= readMap(explanation.map);
    await colorTable(element("colormap").value);
    if (mine !== state.turn) return;
    keepPicture(item, picture);
    state.shown = { item, picture, answer, explanation, question: item.latest.question };
  } catch (error) {
    element("panes").setAttribute("aria-busy", "false");
    return showProblem(error, () => queue.add([item]), item.name);
  }
  hideProblem();
  element("stage").hidden = false;
  showBusy(null);
  element("shown-name").textContent = item.name;
  element("shown-name").title = item.name;
  keepFocus(() => showResult(state.shown, askAgain));
  element("other-class").hidden = item.scores.get(state.shown.answer.model.name).size >= classes().length;
  showScales();
  await draw();
  const { explanation, answer } = state.shown;
  say(`${item.name}: the model's answer is ${answer.prediction.label}, ${percent(answer.prediction.probability)}. The map of ${explanation.label} is shown.`);
}

// Only the picture that is shown is kept decoded.
function keepPicture(item, picture) {
  const before = state.shown;
  if (before && before.picture !== picture) {
    before.picture.source.close();
    before.item.picture = null;
  }
  item.picture = picture;
}

// While another image is explained, the picture that is shown keeps its own name, dimmed.
function showBusy(item) {
  const isBusy = item !== null && item.state !== "done";
  const what = { failed: "could not be explained", cancelled: "was cancelled" }[item?.state];
  const isFormer = state.shown !== null && state.shown.item === item; // an answer to another question about this image
  const isStale = isBusy && state.shown !== null && !(what && isFormer);
  element("stage").classList.toggle("stale", isStale);
  keepFocus(() => { element("stage").inert = isStale; });
  element("busy").hidden = !isBusy;
  const text = isBusy ? (what ? `${item.name} ${what}.` : `Explaining ${item.name}…`) : "";
  const shown = isFormer ? (what ? " The former answer is shown." : "") : ` Still shown: ${state.shown?.item.name}`;
  element("busy").textContent = isBusy && state.shown ? text + shown : text;
  if (isBusy) say(text);
  document.body.classList.toggle("working", isBusy && !what);
  element("drop").dataset.busy = isBusy && !what && !state.shown ? text : "";
}

// A stage that is inert loses the focus; it is given back when the stage can be used again.
function keepFocus(change) {
  const focused = document.activeElement;
  if (element("stage").contains(focused)) state.focused = focused;
  change();
  if (element("stage").inert || !state.focused || document.activeElement !== document.body) return;
  const isClass = !state.focused.isConnected; // the classes are listed anew
  (isClass ? element("classes").querySelector("[aria-pressed=true]") : state.focused)?.focus({ preventScroll: true });
  state.focused = null;
}

function appearance(explanation) {
  const colormap = element("colormap").value;
  const signed = SIGNED.has(colormap);
  const full = element("scale").value === "absolute" ? absoluteFull(explanation) : null;
  return { colormap, signed, full, cells: element("cells").checked, threshold: signed ? 0 : Number(element("threshold").value) };
}

// The value that is full heat in every image: the 99th percentile of the peaks of the class, or of all classes.
function absoluteFull(explanation) {
  const { answer } = state.shown;
  if (answer.model.method !== "gradcam" || explanation.contrast) return null;
  const calibration = card()?.layers?.find(({ name }) => name === answer.model.layer)?.calibration;
  return calibration?.classes?.[explanation.label]?.peak_percentiles["99"] || calibration?.peak_percentiles["99"] || null;
}

function showScales() {
  const isKnown = !state.shown || absoluteFull(state.shown.explanation) !== null;
  const option = element("scale").options[1];
  option.disabled = !isKnown;
  option.textContent = isKnown ? "same for all images" : "same for all: not calibrated";
  if (!isKnown) element("scale").value = "image";
}

const opacity = () => Number(element("alpha").value);

// Draw what is shown now; only the latest of several calls draws.
async function draw() {
  if (!state.shown) return;
  const mine = ++state.drawing;
  element("panes").setAttribute("aria-busy", "true");
  try {
    const table = await colorTable(element("colormap").value);
    if (mine === state.drawing && state.shown) drawNow(table);
  } catch (error) {
    showProblem(error, draw);
  }
  if (mine === state.drawing) element("panes").setAttribute("aria-busy", "false");
}

function drawNow(table) {
  const { item, picture, explanation } = state.shown;
  state.shown.look = painted(explanation, table);
  const isPair = state.view === "pair" && !explanation.drawn;
  const left = isPair ? item.latest.explanations.get(leftLabel()) : null;
  if (left) painted(left, table);
  element("pane-b").parentElement.hidden = !isPair;
  element("left-field").hidden = !isPair;
  element("split-field").hidden = state.view !== "slider";
  const view = {
    alpha: opacity(),
    outline: element("outline").checked ? Number(element("outline-level").value) : null,
    split: state.view === "slider" ? element("split").value / 100 : null,
  };
  const right = paneOf(explanation);
  viewer.show(picture, isPair ? [left ? paneOf(left) : { layer: right.layer, heat: false }, right] : [right], view);
  showCaptions(isPair, left);
  showScaleBar(state.shown.look, explanation.layer.most);
}

// Color the map of an explanation; returns the look.
function painted(explanation, table) {
  explanation.read ??= readMap(explanation.map);
  explanation.layer ??= new Layer(explanation.read);
  const look = { ...appearance(explanation), table };
  explanation.layer.paint(look);
  return look;
}

function paneOf({ layer, drawn, regions }) {
  return { layer, heat: state.heat && !drawn, regions: regions?.regions.map((region, index) => ({ ...region, name: String(index + 1) })) };
}

function splitAt(share) {
  element("split").value = Math.round(share * 100);
  draw();
}

function showCaptions(isPair, left) {
  const { item, explanation } = state.shown;
  const right = captionOf(explanation, Boolean(left));
  for (const [id, text] of [["caption-a", isPair ? (left ? captionOf(left, true) : "Original") : right], ["caption-b", right]]) {
    Object.assign(element(id), { textContent: text, title: text });
  }
  element("pane-a").setAttribute("aria-label", `${element("caption-a").textContent}, ${item.name}`);
  element("pane-b").setAttribute("aria-label", `${right}, ${item.name}`);
}

// Beside another class, the value of the strongest color is named: it may differ.
function captionOf({ label, contrast, drawn, layer }, isCompared) {
  const { method } = state.shown.answer.model;
  const about = `“${label}”${contrast ? ` rather than ${contrast}` : ""}${method === "gradcam" ? "" : ` by ${method}`}`;
  if (drawn) return `Overlay of ${about} by the server: the browser cannot read this file`;
  if (!state.heat) return "Original";
  return `Heat for ${about}${isCompared ? `, strongest color at ${number(layer.most)}` : ""}`;
}

function showScaleBar({ table, signed }, most) {
  const context = element("scale-bar").getContext("2d");
  const row = new ImageData(256, 1);
  for (let level = 0; level < 256; level++) row.data.set([...table.subarray(3 * level, 3 * level + 3), 255], 4 * level);
  context.putImageData(row, 0, 0);
  element("scale-low").textContent = signed ? number(-most) : "0";
  element("scale-high").textContent = number(most);
  element("scale-unit").textContent = "logits per cell";
}

function showHover(place) {
  const text = place
    ? `x ${place.x}, y ${place.y}` + (place.cell
      ? ` · cell ${place.cell.column + 1}, ${place.cell.row + 1} · evidence ${number(place.cell.value)}`
      : " · not seen by the model")
    : "Point at the image to read values.";
  element("hover").textContent = text;
}

function say(text) {
  element("status").textContent = text;
}

// ---- problems

let countdown = null;

function showProblem(error, retry = null, name = "") {
  clearInterval(countdown);
  console.debug(error);
  element("problem-title").textContent = name ? `${name}: ${error.message}` : error.message;
  element("problem-advice").textContent = [...(error.fields ?? []).map(({ loc, msg }) => `${loc?.at(-1)}: ${msg}.`), error.advice ?? ""].join(" ");
  const button = element("problem-retry");
  button.hidden = !retry;
  button.onclick = () => {
    hideProblem();
    retry();
  };
  element("problem").hidden = false;
  if (retry && error instanceof ApiError && error.retryAfter) waitFor(error.retryAfter, button);
  else Object.assign(button, { disabled: false, textContent: "Try again" });
  if (error.status === 401) askForToken(retry);
}

function waitFor(seconds, button) {
  let left = seconds;
  const tick = () => {
    button.disabled = left > 0;
    button.textContent = left > 0 ? `Try again in ${left} s` : "Try again";
    if (left-- <= 0) clearInterval(countdown);
  };
  tick();
  countdown = setInterval(tick, 1000);
}

function hideProblem() {
  clearInterval(countdown);
  element("problem").hidden = true;
}

function askForToken(retry = loadModels, isRefused = hasToken()) {
  const dialog = element("token-dialog");
  if (dialog.open) return;
  dialog.onclose = () => {
    const text = element("token").value;
    element("token").value = "";
    if (dialog.returnValue !== "use") return;
    setToken(text);
    element("token-button").textContent = hasToken() ? "Access token set" : "Access token";
    hideProblem();
    if (!state.cards.length) loadModels();
    if (retry && retry !== loadModels) retry();
  };
  dialog.returnValue = "";
  element("token-refused").hidden = !isRefused;
  dialog.showModal();
}

// ---- controls

const APPEARANCE = ["colormap", "scale", "cells", "outline", "alpha", "threshold", "outline-level", "split"];
for (const id of APPEARANCE) {
  element(id).addEventListener("input", () => {
    const share = (name) => `${Math.round(element(name).value * 100)} %`;
    element("alpha-value").textContent = share("alpha");
    element("threshold-value").textContent = share("threshold");
    element("outline-value").textContent = share("outline-level");
    element("outline-field").hidden = !element("outline").checked;
    element("threshold").disabled = SIGNED.has(element("colormap").value);
    draw();
  });
}
for (const id of ["method", "layer", "contrast", "regions", "faithfulness"]) element(id).addEventListener("change", () => askAgain());
element("model").addEventListener("change", () => {
  showModel();
  askAgain(null);
});
element("other-class").addEventListener("submit", (event) => {
  event.preventDefault();
  const label = element("class-name").value;
  if (classes().includes(label)) askAgain(label);
  else showProblem({ message: `The model has no class “${label}”.`, advice: "Choose one of the list." });
});
for (const button of document.querySelectorAll("[data-view]")) {
  button.addEventListener("click", () => {
    state.view = button.dataset.view;
    for (const other of document.querySelectorAll("[data-view]")) other.setAttribute("aria-pressed", String(other === button));
    if (leftLabel()) askIfNew(state.selected);
    else draw();
  });
}
element("left").addEventListener("change", () => askIfNew(state.selected));
element("zoom-in").addEventListener("click", () => viewer.zoomBy(1.25));
element("zoom-out").addEventListener("click", () => viewer.zoomBy(0.8));
element("zoom-fit").addEventListener("click", () => viewer.fit());
element("heat-toggle").addEventListener("click", toggleHeat);
element("full-screen").addEventListener("click", () => {
  if (document.fullscreenElement) document.exitFullscreen();
  else element("viewer").requestFullscreen();
});
document.addEventListener("keydown", (event) => {
  const isFree = event.target === document.body || event.target instanceof HTMLCanvasElement;
  if (event.key !== " " || !isFree || !state.shown) return;
  event.preventDefault();
  toggleHeat();
});

function toggleHeat() {
  state.heat = !state.heat;
  element("heat-toggle").setAttribute("aria-pressed", String(state.heat));
  draw();
}

element("sort").addEventListener("change", () => tray.show(state.items, state.selected));
element("cancel").addEventListener("click", () => {
  queue.cancel();
  stager.cancel();
});
element("retry-failed").addEventListener("click", () => {
  queue.add(state.items.filter(({ state: now }) => ["failed", "cancelled"].includes(now)));
});
element("token-cancel").addEventListener("click", () => element("token-dialog").close(""));
element("clear").addEventListener("click", startOver);
element("start-over").addEventListener("click", startOver);

function startOver() {
  queue.cancel();
  stager.cancel();
  Object.assign(state, { items: [], selected: null, shown: null, turn: state.turn + 1 });
  viewer.clear();
  document.body.classList.remove("started");
  element("stage").hidden = true;
  element("start-over").hidden = true;
  element("drop").dataset.busy = "";
  element("busy").hidden = true;
  tray.show(state.items, null);
  hideProblem();
}
element("token-button").addEventListener("click", () => askForToken(null, false));
element("problem-close").addEventListener("click", hideProblem);

const address = () => new URL("api/inference/heatmap", document.baseURI).href;
const stem = (name) => name.replace(/\.[^.]+$/, "");
const png = (canvas) => new Promise((resolve) => canvas.toBlob(resolve, "image/png"));


const SAVED = {
  overlay: async ({ picture, explanation, item, look }) => [explanation.drawn ?? await png(overlayCanvas(picture, explanation.read, look, opacity())), `${item.name}.heatmap.png`],
  report: async (shown) => [await png(reportCanvas(shown, shown.look, shown.explanation.drawn ? 0 : opacity(), shown.explanation.layer.most)), `${stem(shown.item.name)}.report.png`],
  map: async ({ explanation, item }) => [npyOf(explanation.read), `${stem(item.name)}.${explanation.label}.npy`],
  json: async ({ answer, item }) => [new Blob([JSON.stringify(answer, null, 2)], { type: "application/json" }), `${stem(item.name)}.json`],
};
for (const button of document.querySelectorAll("[data-save]")) {
  button.addEventListener("click", async () => {
    await draw(); // a colormap that was just chosen may not have arrived
    save(...(await SAVED[button.dataset.save](state.shown)));
  });
}

const COPIED = { curl: curlOf, python: pythonOf };
for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    const { item, explanation, question: asked } = state.shown;
    const query = queryOf(asked, classes().length, { label: explanation.label });
    query.set("include", "overlay,map");
    query.set("colormap", element("colormap").value);
    query.set("alpha", element("alpha").value);
    if (element("scale").value === "absolute") query.set("scale", "absolute");
    const text = COPIED[button.dataset.copy](address(), query, item.name, hasToken());
    const before = button.textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      showProblem({ message: "The browser does not allow copying here:", advice: text });
    }
    setTimeout(() => { button.textContent = before; }, 1500);
  });
}

// The address of the link is below the page's base, which may be another than the page's own address.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  element("content").focus();
});

listen(take);
offerSamples(take, (error) => showProblem(error));
loadModels();
