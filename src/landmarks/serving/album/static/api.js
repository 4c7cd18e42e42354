/** What the page asks of the program, and the one kind of error that it shows. */

/** A refusal, in a sentence for people; `status` is 0 if the program does not answer at all. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const get = (path) => ask(`api/${path}`);

export const post = (path, body = {}) =>
  ask(`api/${path}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

/** The outline of the land, for the maps. */
export const getLand = () => ask(new URL("land.json", import.meta.url));

export const thumbnail = ({ id, version }) => `thumbnails/${id}?v=${version}`;
export const preview = ({ id, version }) => `previews/${id}?v=${version}`;
export const heatmap = ({ id, version }) => `heatmaps/${id}?v=${version}`;

async function ask(address, options) {
  let response;
  try {
    response = await fetch(address, options);
  } catch {
    const changes = options?.method === "POST"; // which the program may do to its end all the same
    throw new ApiError(0, changes
      ? "The program does not answer: see whether it was done before you do it again."
      : "The program does not answer: nothing was changed.");
  }
  let message = `The program answered with status ${response.status}.`;
  try {
    const answer = await response.json();
    if (response.ok) return answer;
    message = answer.error.message || message;
  } catch {
    if (response.ok) message = "The answer of the program was cut off.";
  }
  throw new ApiError(response.status, message[0].toUpperCase() + message.slice(1));
}
