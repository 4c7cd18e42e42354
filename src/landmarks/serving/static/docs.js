/** The page of the API: shows openapi.json, and sends requests that are filled in. */

import { askJson, headers, ServiceError, UNREACHABLE, useKey } from "./api.js";
import { byId, el } from "./dom.js";

const FORM = "multipart/form-data";
const JSON_TYPE = "application/json";
let description = null;

/** A text in which `code` is marked. */
const marked = (text = "") => text.split("`").map((part, at) => (at % 2 ? el("code", {}, part) : part));

const deref = (schema = {}) => (schema.$ref ? (description.components.schemas[schema.$ref.split("/").pop()] ?? {}) : schema);

/** The name of a type, linked to its description. */
function typeOf(schema = {}) {
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return [el("a", { href: `#type-${name}` }, name)];
  }
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return choices.flatMap((choice, at) => (at ? [" or ", ...typeOf(choice)] : typeOf(choice)));
  if (schema.enum) return [schema.enum.map((value) => JSON.stringify(value)).join(" or ")];
  if (schema.const !== undefined) return [JSON.stringify(schema.const)];
  if (schema.type === "array") return ["list of ", ...typeOf(schema.items)];
  if (schema.format === "binary") return ["file"];
  return [schema.type ?? "anything"];
}

function table(titles, rows) {
  if (rows.length === 0) return null;
  const head = el("tr", {}, ...titles.map((title) => el("th", { scope: "col" }, title)));
  const body = rows.map((cells) => el("tr", {}, ...cells.map((cell) => el("td", {}, ...[cell].flat()))));
  return el("table", {}, el("thead", {}, head), el("tbody", {}, ...body));
}

/** An example of a type, from its own examples or from those of its parts. */
function example(schema, depth = 0) {
  const known = deref(schema);
  if (known.examples?.length) return known.examples[0];
  if (known.default !== undefined) return known.default;
  if (known.enum) return known.enum[0];
  const choices = known.anyOf ?? known.oneOf;
  if (choices) return example(choices[0], depth);
  if (depth > 4) return null;
  if (known.type === "array") return [example(known.items, depth + 1)];
  if (known.type === "object") {
    return Object.fromEntries(Object.entries(known.properties ?? {}).map(([name, part]) => [name, example(part, depth + 1)]));
  }
  return { string: "", integer: 0, number: 0, boolean: false }[known.type] ?? null;
}

const pretty = (value) => JSON.stringify(value, null, 2);

function answers(operation) {
  const rows = Object.entries(operation.responses).map(([status, answer]) => {
    const kinds = Object.entries(answer.content ?? {}).flatMap(([kind, { schema }], at) => [
      at ? ", " : "", kind === JSON_TYPE ? "" : `${kind} `, ...(kind === JSON_TYPE ? typeOf(schema) : []),
    ]);
    return [status, marked(answer.description), kinds];
  });
  return table(["Status", "When", "Body"], rows);
}

/** The form that sends a request; its answer is shown below. */
function attempt(path, method, operation) {
  const shown = el("pre", { hidden: true, tabIndex: 0 });
  const inputs = (operation.parameters ?? []).map((parameter) => ({ ...parameter, input: el("input", { required: parameter.required }) }));
  const content = operation.requestBody?.content ?? {};
  const files = content[FORM] ? el("input", { type: "file", multiple: true, required: true }) : null;
  const body = content[JSON_TYPE] ? el("textarea", { value: pretty(example(content[JSON_TYPE].schema)), spellcheck: false }) : null;
  const form = el(
    "form",
    { class: "try", "aria-label": `Try ${method.toUpperCase()} ${path}` },
    ...inputs.map(({ name, input }) => el("label", {}, name, input)),
    files && el("label", {}, "Files", files),
    body && el("label", {}, "Body", body),
    el("button", { type: "submit" }, "Send"),
    shown,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const query = new URLSearchParams();
    let address = path.slice(1);
    for (const { name, in: where, input } of inputs) {
      if (where === "path") address = address.replace(`{${name}}`, encodeURIComponent(input.value));
      else if (input.value) query.set(name, input.value);
    }
    const options = { method: method.toUpperCase(), headers: headers() };
    if (files) {
      options.body = new FormData();
      for (const file of files.files) options.body.append("photos", file, file.name);
    } else if (body) {
      options.body = body.value;
      options.headers["Content-Type"] = JSON_TYPE;
    }
    shown.textContent = "…";
    shown.hidden = false;
    shown.textContent = await sent(address + (query.size ? `?${query}` : ""), options);
  });
  return form;
}

async function sent(address, options) {
  try {
    const answer = await fetch(address, options);
    const kind = answer.headers.get("Content-Type") ?? "";
    const text = kind.includes("zip") || kind.includes("octet") ? `${(await answer.blob()).size} bytes, ${kind}` : await answer.text();
    return `${answer.status}\n${kind.startsWith(JSON_TYPE) ? pretty(JSON.parse(text)) : text}`;
  } catch {
    return UNREACHABLE;
  }
}

function operation(path, method, known) {
  const parameters = (known.parameters ?? []).map(({ name, schema, description: text }) => [
    el("code", {}, name), typeOf(schema), marked(text),
  ]);
  const body = Object.entries(known.requestBody?.content ?? {}).map(([kind, { schema }]) => [kind, typeOf(schema)]);
  const parts = el(
    "div",
    {},
    el("p", {}, ...marked(known.description)),
    table(["Parameter", "Type", "Meaning"], parameters),
    known.requestBody?.description ? el("p", {}, ...marked(known.requestBody.description)) : null,
    table(["Body", "Type"], body),
    answers(known),
    attempt(path, method, known),
  );
  const title = [el("span", { class: "method" }, method.toUpperCase()), el("code", {}, path), ` ${known.summary ?? ""}`];
  return el("details", { class: "operation" }, el("summary", {}, ...title), parts);
}

function schema(name, known) {
  const rows = Object.entries(known.properties ?? {}).map(([field, part]) => [
    el("code", {}, field), typeOf(part), marked(deref(part) === part ? part.description : ""),
  ]);
  const parts = el("div", {}, el("p", {}, ...marked(known.description)), table(["Field", "Type", "Meaning"], rows));
  if (known.examples?.length) parts.append(el("pre", { tabIndex: 0 }, pretty(known.examples[0])));
  return el("details", { class: "schema", id: `type-${name}` }, el("summary", {}, el("code", {}, name)), parts);
}

/** Open the type that a link leads to. */
function follow() {
  const target = byId(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) target.open = true;
}

function notice(text) {
  byId("notice").textContent = text;
  byId("notice").hidden = !text;
}

async function show() {
  notice("");
  try {
    description = await askJson("openapi.json");
  } catch (error) {
    if (!(error instanceof ServiceError)) throw error;
    notice(error.status === 401 ? "This service asks for an API key." : error.message);
  }
  if (!description) return;
  byId("description").replaceChildren(...marked(description.info.description));
  const operations = Object.entries(description.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, known]) => operation(path, method, known)),
  );
  byId("operations").replaceChildren(...operations);
  const schemas = Object.entries(description.components.schemas).sort(([a], [b]) => a.localeCompare(b));
  byId("schemas").replaceChildren(...schemas.map(([name, known]) => schema(name, known)));
  follow();
}

byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  show();
});
byId("key").addEventListener("input", () => useKey(byId("key").value));
addEventListener("hashchange", follow);
await show();
