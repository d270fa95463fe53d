// One image -> POST /api/inference/heatmap -> original, heatmap and facts side by side.
const form = document.getElementById("form");
const statusLine = document.getElementById("status");
const result = document.getElementById("result");
const samples = document.getElementById("samples");
let chosen = null; // File or Blob, with a name
let latest = 0; // answers of older requests are dropped

function say(text, kind = "info") {
  statusLine.textContent = text;
  statusLine.dataset.kind = kind;
}

async function explain() {
  if (!chosen) return;
  const mine = ++latest;
  const query = new URLSearchParams({ colormap: form.colormap.value, alpha: form.alpha.value });
  const body = new FormData();
  body.append("file", chosen, chosen.name);
  say("Looking…");
  try {
    const response = await fetch(`api/inference/heatmap?${query}`, { method: "POST", body });
    const answer = await response.json();
    if (mine !== latest) return;
    if (!response.ok) throw new Error(answer.detail ?? answer.message ?? response.statusText);
    show(answer);
  } catch (error) {
    if (mine !== latest) return;
    result.hidden = true;
    say(error.message, "error");
  }
}

function show(answer) {
  document.getElementById("original").src = `data:${answer.original_media_type};base64,${answer.original_image_base64}`;
  document.getElementById("overlay").src = `data:${answer.media_type};base64,${answer.heatmap_base64}`;
  const { prediction, model } = answer;
  const facts = {
    Class: `${prediction.label} (${(prediction.probability * 100).toFixed(1)} %)`,
    Evidence: { ok: "clear", weak: "weak: do not rely on this map", empty: "none: nothing speaks for this class" }[answer.quality],
    Familiarity: familiarityText(answer.familiarity),
    Time: `${answer.processing_time_ms.toFixed(0)} ms`,
    Model: `${model.name} ${model.version}, layer ${model.layer}, ${model.method}, ${model.engine} ${model.precision}`,
    Digest: model.sha256,
  };
  document.getElementById("facts").replaceChildren(
    ...Object.entries(facts).flatMap(([term, text]) => [
      Object.assign(document.createElement("dt"), { textContent: term }),
      Object.assign(document.createElement("dd"), { textContent: text }),
    ]),
  );
  document.getElementById("notice").textContent = model.notice;
  result.hidden = false;
  say(`${answer.filename}, ${answer.width} × ${answer.height}`);
}

function familiarityText(familiarity) {
  if (!familiarity) return "unknown: this model has no reference";
  if (familiarity.unfamiliar) return "UNFAMILIAR: unlike the images this model was calibrated on; do not rely on class or map";
  return `familiar: nearer than ${(100 - familiarity.percentile).toFixed(1)} % of the calibration images`;
}

async function offerSamples() {
  const response = await fetch("static/samples/samples.json");
  if (!response.ok) return;
  for (const { file: name } of (await response.json()).samples) {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "false");
    button.append(Object.assign(document.createElement("img"), { src: `static/samples/${name}`, alt: name, loading: "lazy" }));
    button.addEventListener("click", () => chooseSample(name, button));
    samples.append(button);
  }
}

async function chooseSample(name, button) {
  const blob = await (await fetch(`static/samples/${name}`)).blob();
  for (const other of samples.children) other.setAttribute("aria-pressed", String(other === button));
  form.file.value = "";
  chosen = new File([blob], name);
  await explain();
}

form.file.addEventListener("change", () => {
  chosen = form.file.files[0] ?? null;
  for (const other of samples.children) other.setAttribute("aria-pressed", "false");
  explain();
});
form.colormap.addEventListener("change", explain);
form.alpha.addEventListener("input", () => { form.weight.value = form.alpha.value; });
form.alpha.addEventListener("change", explain);
form.addEventListener("submit", (event) => event.preventDefault());
offerSamples();
