// Sentences of the page. None of them can be read as a diagnosis: they speak of the map, the model and the class.

/** What the quality of a map means. */
export function qualityText(quality, label) {
  return {
    ok: `Enough evidence for the class “${label}” to read this map.`,
    weak: `Little evidence for the class “${label}”. Do not rely on this map.`,
    empty: `No evidence for the class “${label}”: the map is empty.`,
  }[quality];
}

export const QUALITY = { ok: "enough evidence", weak: "little evidence", empty: "no evidence" };

/** Which classes a model knows. */
export function choicesText(classes) {
  const more = classes.length > 4 ? `, and ${classes.length - 4} more` : "";
  return classes.length ? `This model knows the classes ${classes.slice(0, 4).map((label) => `“${label}”`).join(", ")}${more}.` : "";
}

export const UNFAMILIAR = "unlike calibration images";

export function familiarityText(familiarity) {
  if (!familiarity) return "Not known: this model has no reference images to compare with.";
  if (familiarity.unfamiliar) {
    return "Unlike the images that this model was calibrated on. Do not rely on its class or its map.";
  }
  const share = (100 - familiarity.percentile).toFixed(familiarity.percentile > 99 ? 1 : 0);
  return `Similar to the images that this model was calibrated on: more typical than ${share} % of them.`;
}

export const percent = (share) => `${(share * 100).toFixed(share > 0.999 || share < 0.001 ? 2 : 1)} %`;

/** A number with three digits, without an exponent where that is readable. */
export function number(value) {
  const size = Math.abs(value);
  if (value === 0) return "0";
  return size >= 0.001 && size < 10000 ? String(Number(value.toPrecision(3))) : value.toExponential(1);
}

const ADVICE = {
  0: "Check the connection, then try again.",
  400: "Choose another file, or export the image again.",
  401: "Enter an access token.",
  403: "The token does not allow this. Enter another one.",
  404: "Reload the page: the server was probably updated.",
  408: "The upload was too slow. Try again, or use a smaller file.",
  413: "Use a smaller image, or send it in a staged batch.",
  415: "Choose an image or a DICOM file.",
  422: "Change the option that is named.",
  429: "Wait, then try again.",
  500: "Try again. If it fails again, tell the operator the request id.",
  502: "Try again in a minute.",
  503: "Wait, then try again.",
  504: "Choose a faster method, or a smaller image.",
};

const ADVICE_OF_CODES = {
  "staging.unavailable": "Use smaller images: larger ones need a bucket, which the operator of this server can set up.",
  "quota.exceeded": "Wait until your other batches have ended, or cancel one.",
  "limit.passes": "Choose a faster method, or a layer with fewer channels.",
  "limit.time": "Choose a faster method, or a layer with fewer channels.",
  "input.depth": "Choose an image with more than 8 bits for this model.",
};

/** What to do about a failed request with a status and a code. */
export function adviceOf({ status, code }) {
  return ADVICE_OF_CODES[code] ?? ADVICE[status] ?? (status >= 500 ? ADVICE[500] : ADVICE[400]);
}

export const WITHOUT_BUCKET =
  "Use a smaller image. For large ones the operator of this server can set up staged batches, which need a bucket.";

const FAILURES = {
  "input.empty": "The file is empty.",
  "input.unreadable": "The image is truncated or damaged.",
  "input.unsupported": "This is not an image of a supported type.",
  "input.depth": "The model reads more than 8 bits; this image has 8.",
  "limit.image_pixels": "The image has too many pixels.",
  "limit.image_memory": "The image takes more memory than there is for one.",
  "limit.time": "The explanation takes longer than the server allows.",
  "batch.gave_up": "Several attempts to explain it failed.",
};

/** Why a file of a batch failed. */
export const failureText = (code) => FAILURES[code] ?? `The server could not explain it (${code ?? "no reason given"}).`;
