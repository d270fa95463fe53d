// What is asked of the server for an image, and how its response is read.

const TOP = 5;

/** The query of a request: `question` has model, method, layer, contrast, regions, faithfulness and threshold. */
export function queryOf(question, classCount, { label = null, original = false } = {}) {
  const query = new URLSearchParams();
  const include = ["map", original && "original", question.regions && "regions", question.faithfulness && "faithfulness"];
  query.set("include", include.filter(Boolean).join(","));
  const others = classCount - (question.contrast ? 1 : 0);
  // One class is tested at a time: the test runs the network often.
  if (!question.faithfulness || !label) query.append("target", `top-${question.faithfulness ? 1 : Math.min(TOP, others)}`);
  if (label && label !== question.contrast) query.append("target", label);
  for (const name of ["model", "method", "layer", "contrast"]) if (question[name]) query.set(name, question[name]);
  if (question.regions) query.set("threshold", question.threshold);
  return query;
}

/** The options of a staged batch: `drawn` asks for overlays, of files that the browser cannot show. */
export function batchOptionsOf(question, { label, drawn }) {
  const options = { include: [drawn && "overlay", question.regions && "regions", question.faithfulness && "faithfulness"].filter(Boolean) };
  if (!options.include.length) options.include = ["map"];
  if (label && label !== question.contrast) options.target = label;
  for (const name of ["model", "method", "layer", "contrast"]) if (question[name]) options[name] = question[name];
  if (question.regions) options.threshold = Number(question.threshold);
  return options;
}

/** The explanations of a response by label. */
export function explanationsOf(answer) {
  const { explained, quality, map, regions, faithfulness } = answer;
  const listed = answer.explanations ?? [{ ...explained, quality, map, regions, faithfulness }];
  return new Map(listed.map((each) => [each.label, each]));
}

/** A text that is equal for equal questions. */
export const keyOf = (question) => JSON.stringify(question);
