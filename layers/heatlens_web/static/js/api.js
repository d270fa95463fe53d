// Requests to the server that this page comes from, and what their failures mean.
import { adviceOf } from "./words.js";

let token = ""; // never stored

export const setToken = (text) => { token = text.trim(); };
export const hasToken = () => token !== "";

/** A request failed: `message` says what happened, `advice` what to do. */
export class ApiError extends Error {
  constructor({ status = 0, code = "", message, retryAfter = null, fields = [], advice = adviceOf({ status, code }) }) {
    super(message);
    Object.assign(this, { status, code, retryAfter, fields, advice });
  }

  /** Whether the file may be explained in a staged batch: it is too large for a request, or for a gateway before it. */
  get isTooLarge() {
    return this.status === 413 && TOO_LARGE.has(this.code);
  }
}

const TOO_LARGE = new Set(["", "limit.body_bytes", "limit.file_bytes", "limit.image_pixels", "limit.request_pixels", "limit.answer_bytes"]);

/** Explain one image: a response of POST api/inference/heatmap. */
export function explain(file, query, signal) {
  const body = new FormData();
  body.append("file", file, file.name || "pasted image");
  return request(`api/inference/heatmap?${query}`, { method: "POST", body, signal });
}

export const models = () => request("api/inference/models");

/** Send a request with the token and return its JSON. */
export async function request(path, options = {}) {
  const headers = new Headers(options.headers);
  if (/[^\x21-\x7e]/.test(token)) {
    throw new ApiError({ status: 401, message: "The access token has characters that no token can have.", advice: "Enter it again." });
  }
  if (token) headers.set("authorization", `Bearer ${token}`);
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError({ message: "The server does not answer." });
  }
  return answerOf(response);
}

async function answerOf(response) {
  const text = await response.text();
  let answer = null;
  try {
    answer = JSON.parse(text);
  } catch {
    // a page of a proxy, which is described below
  }
  if (response.ok && answer !== null) return answer;
  const status = response.status;
  const seconds = Number.parseInt(response.headers.get("retry-after") ?? "", 10);
  throw new ApiError({
    status,
    code: answer?.code ?? "",
    message: answer?.detail ?? answer?.message ?? `Something before the server answered with status ${status}, not the server itself.`,
    retryAfter: Number.isFinite(seconds) ? seconds : null,
    fields: answer?.errors ?? [],
  });
}
