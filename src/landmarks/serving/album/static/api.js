/** What the page asks of the program, and the one kind of error that it shows. */

/** A refusal, in a sentence for people; `status` is 0 if the program does not answer at all. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const get = (path) => ask(path);

export const post = (path, body = {}) =>
  ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

export const thumbnail = ({ id, version }) => `thumbnails/${id}?v=${version}`;
export const preview = ({ id, version }) => `previews/${id}?v=${version}`;
export const heatmap = ({ id, version }) => `heatmaps/${id}?v=${version}`;

async function ask(path, options) {
  let response;
  try {
    response = await fetch(`api/${path}`, options);
  } catch {
    throw new ApiError(0, "The program does not answer: nothing was changed.");
  }
  if (response.ok) return response.json();
  let message = `The program answered with status ${response.status}.`;
  try {
    message = (await response.json()).error.message;
  } catch {
    // A broken answer has no sentence of its own.
  }
  throw new ApiError(response.status, message[0].toUpperCase() + message.slice(1));
}
