// The result in words, the classes, and the facts of the computation.
import { familiarityText, number, percent, qualityText } from "./words.js";

const element = (id) => document.getElementById(id);
const made = (name, properties, ...children) => {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
};

/** Show a result; `onClass` is called with the label of a class that is chosen. */
export function showResult({ item, answer, explanation }, onClass) {
  const { prediction } = answer;
  element("label").textContent = prediction.label;
  element("probability").textContent = percent(prediction.probability);
  element("quality").textContent = qualityText(explanation.quality, explanation.label);
  element("quality").className = explanation.quality;
  element("familiarity").textContent = familiarityText(answer.familiarity);
  element("familiarity").className = answer.familiarity?.unfamiliar ? "weak" : "";
  element("notes").replaceChildren(...(answer.notes ?? []).map((note) => made("li", { textContent: note })));
  showClasses(item.scores.get(answer.model.name), explanation.label, onClass);
  showFacts(item, answer, explanation);
  showTests(explanation);
}

function showClasses(scores, chosen, onClass) {
  const entries = [...scores.values()].sort((a, b) => b.probability - a.probability).map(({ label, probability }) => {
    const meter = made("span", { className: "meter", ariaHidden: "true" }, made("span", {}));
    meter.firstChild.style.setProperty("--share", probability);
    const button = made("button", { type: "button", title: label },
      made("span", { className: "name", textContent: label }), made("span", { textContent: percent(probability) }), meter);
    button.setAttribute("aria-pressed", String(label === chosen));
    button.addEventListener("click", () => onClass(label));
    return made("li", {}, button);
  });
  element("classes").replaceChildren(...entries);
}

function showFacts(item, answer, explanation) {
  const { model, timings_ms: timings = {} } = answer;
  const { height, width } = explanation.read;
  const facts = {
    File: `${item.name}, ${answer.width} × ${answer.height}`,
    Model: `${model.name} ${model.version}`,
    Digest: model.sha256,
    Map: `${model.method} at ${model.layer}, ${height} × ${width} cells`,
    Logit: number(explanation.logit),
    Margin: `${number(answer.prediction.margin)} logits before the next class`,
    Engine: `${model.engine}, ${model.precision}`,
  };
  if (answer.request_id) { // not in a batch
    const stages = Object.entries(timings ?? {}).map(([stage, ms]) => `${stage} ${number(ms)}`).join(", ");
    Object.assign(facts, { Time: `${Math.round(answer.processing_time_ms)} ms (${stages})`, Request: answer.request_id });
  }
  element("facts").replaceChildren(
    ...Object.entries(facts).flatMap(([term, text]) => [made("dt", { textContent: term }), made("dd", { textContent: text })]),
  );
}

function showTests({ regions, faithfulness, label }) {
  element("regions-text").textContent = regions
    ? `${regions.found} ${regions.found === 1 ? "region" : "regions"} from ${percent(regions.threshold)} of the scale on.` : "";
  if (!faithfulness) {
    element("faithfulness-text").textContent = "";
    return;
  }
  const { probability, deletion, insertion, road, complete } = faithfulness;
  const value = (score) => (score === null ? "not reached" : number(score));
  element("faithfulness-text").textContent =
    `Probability of “${label}”: ${percent(probability ?? 0)}. Without the warm pixels (deletion, low is good): ${value(deletion)}. ` +
    `With them alone (insertion, high is good): ${value(insertion)}. ROAD (high is good): ${value(road)}.` +
    (complete ? "" : " The time was too short for all of it.");
}
