/** The service, as the page talks to it. The API key lives in this module and is gone with the page. */

import { canShow, shrink } from "./shrink.js";

let apiKey = "";

export function useKey(key) {
  apiKey = key;
}

/** What passes by itself: no connection, a slow line, a busy service, a proxy without its service. */
const PASSING = new Set([0, 408, 429, 502, 503, 504]);

/** What the service said instead of an answer. */
export class ServiceError extends Error {
  constructor(status, code, message, retryAfter = 0) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }

  /** Whether the same may go through later, without anybody doing anything. */
  get passes() {
    return PASSING.has(this.status);
  }
}

export const UNREACHABLE = "The service cannot be reached.";
const CUT_OFF = "The answer of the service was cut off.";

export const headers = () => (apiKey ? { Authorization: `Bearer ${apiKey}` } : {});

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { ...headers(), ...options.headers } });
  } catch {
    throw new ServiceError(0, "unreachable", UNREACHABLE);
  }
  if (response.ok) return response;
  throw problem(response.status, await response.text().catch(() => ""), response.headers.get("Retry-After"));
}

export async function askJson(path, options) {
  const response = await ask(path, options);
  try {
    return await response.json();
  } catch {
    throw new ServiceError(502, "unreachable", CUT_OFF);
  }
}

function problem(status, text, retryAfter) {
  let error = {};
  try {
    error = JSON.parse(text).error ?? {};
  } catch {
    // A proxy in between may answer in words of its own.
  }
  const message = error.message ?? `The service answered with status ${status}.`;
  return new ServiceError(status, error.code ?? "unknown", message, Number(retryAfter) || 0);
}

/** The outline of the land, for the map. */
export const getLand = () => askJson("land.json");

export const getModels = () => askJson("v1/models");

export const getLandmarks = () => askJson("v1/landmarks");

/** Return what to send of a file: a smaller copy, or the file itself. */
export async function prepared(file) {
  try {
    const beginning = file.stream().getReader();
    await beginning.read();
    await beginning.cancel();
    return await shrink(file);
  } catch {
    const told = "The browser cannot read this: a folder, or a file that was moved or changed. Choose the photos again.";
    throw new ServiceError(400, "unreadable", told);
  }
}

/**
 * Ask for the tags of one file under a name, with a small picture of it where the browser cannot show it; `progress` is
 * told the share that is uploaded.
 */
export async function tag(file, name, progress) {
  const path = (await canShow(file)) ? "v1/tags" : "v1/tags?preview=true";
  // fetch tells nothing of an upload's progress, so this is the older interface.
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => progress(event.lengthComputable ? event.loaded / event.total : 0);
    request.onerror = () => reject(new ServiceError(0, "unreachable", UNREACHABLE));
    request.onload = () => {
      if (request.status === 200) {
        try {
          const { model, photos } = JSON.parse(request.responseText);
          resolve({ ...photos[0], model });
        } catch {
          reject(new ServiceError(502, "unreachable", CUT_OFF));
        }
      } else {
        reject(problem(request.status, request.responseText, request.getResponseHeader("Retry-After")));
      }
    };
    const form = new FormData();
    form.append("photos", file, name);
    request.send(form);
  });
}

/** Find pictures that look like a file. */
export async function search(file) {
  const form = new FormData();
  form.append("photos", await prepared(file), file.name);
  return (await askJson("v1/search?limit=6", { method: "POST", body: form })).neighbours;
}

/** Turn `[{file, tags}]` into XMP: one packet, or a ZIP of them. */
export async function xmp(photos) {
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ photos }) };
  return (await ask("v1/xmp", options)).blob();
}
