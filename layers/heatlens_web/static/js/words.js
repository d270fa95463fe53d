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

export function familiarityText(familiarity) {
  if (!familiarity) return "Not known: this model has no reference images to compare with.";
  if (familiarity.unfamiliar) {
    return "Unlike the images that this model was calibrated on. Do not rely on its class or its map.";
  }
  const share = (100 - familiarity.percentile).toFixed(familiarity.percentile > 99 ? 1 : 0);
  return `Like the images that this model was calibrated on: ${share} % of them lie farther out.`;
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

/** What to do about a failed request. */
export const adviceOf = (status) => ADVICE[status] ?? (status >= 500 ? ADVICE[500] : ADVICE[400]);
