// openapi.json -> every operation with a command, a trial, its parameters, bodies and responses.
import { ApiError, request, setToken } from "./api.js";

const SAMPLE = "phantom-03-opacity.jpg";
const LONGEST = 100; // characters of a text in a shown response
const main = document.getElementById("operations");

const element = (name, ...children) => {
  const made = document.createElement(name);
  made.append(...children);
  return made;
};
const code = (text) => element("code", text);
const prose = (text) => text.split("`").map((part, index) => (index % 2 ? code(part) : part));
const ORDER = [/heatmap/, /inference\/(?!batches)/, /inference/]; // what people look for first; the others come last
const rank = ([path]) => [...ORDER, /./].findIndex((pattern) => pattern.test(path));

function kind(schema, description) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.anyOf) return schema.anyOf.map((each) => kind(each, description)).join(" or ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(", ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.type === "array") return `list of ${kind(schema.items, description) || "anything"}`;
  const bounds = ["minimum", "maximum", "minLength", "maxLength", "format"].filter((name) => name in schema);
  return [schema.type ?? "anything", ...bounds.map((name) => `${name} ${schema[name]}`)].join(", ");
}

function resolved(schema, description) {
  const name = schema?.$ref?.split("/").at(-1);
  return name ? description.components.schemas[name] : schema;
}

function table(heads, rows) {
  const line = (cell, values) => element("tr", ...values.map((value) => element(cell, ...(typeof value === "string" ? prose(value) : [value]))));
  const made = element("table", element("thead", line("th", heads)), element("tbody", ...rows.map((row) => line("td", row))));
  const scrolled = element("div", made);
  scrolled.className = "scrolled";
  scrolled.tabIndex = 0;
  scrolled.setAttribute("role", "group");
  scrolled.setAttribute("aria-label", `Table: ${heads.join(", ")}`);
  return scrolled;
}

function fields(schema, description) {
  const found = resolved(schema, description);
  if (!found?.properties) return [];
  const rows = Object.entries(found.properties).map(([name, each]) => [
    code(name),
    kind(each, description),
    "default" in each ? code(JSON.stringify(each.default)) : found.required?.includes(name) ? "required" : "",
    each.description ?? resolved(each, description)?.description ?? "",
  ]);
  return [table(["field", "kind", "default", "meaning"], rows)];
}

function parameters(list, description) {
  if (!list?.length) return [];
  const rows = list.map((each) => [
    code(each.name),
    each.in,
    kind(each.schema, description),
    each.schema && "default" in each.schema ? code(JSON.stringify(each.schema.default)) : each.required ? "required" : "",
    each.description ?? each.schema?.description ?? "",
  ]);
  return [element("h3", "Parameters"), table(["name", "in", "kind", "default", "meaning"], rows)];
}

function bodies(content, description) {
  return Object.entries(content ?? {}).flatMap(([type, { schema, example }]) => {
    const shown = example ?? resolved(schema, description)?.examples?.[0];
    return [
      element("h3", "Body ", code(type)),
      ...fields(schema, description),
      ...(shown === undefined ? [] : [block(shorten(shown))]),
    ];
  });
}

function answers(responses, description) {
  const rows = Object.entries(responses).map(([status, { description: text, content }]) => [
    code(status),
    text ?? "",
    Object.entries(content ?? {}).map(([type, { schema }]) => `${type}: ${kind(schema, description) || "any"}`).join("; "),
  ]);
  const [good] = Object.keys(responses).filter((status) => status.startsWith("2"));
  const schema = responses[good]?.content?.["application/json"]?.schema;
  return [element("h3", "Responses"), table(["status", "when", "what"], rows), ...fields(schema, description)];
}

function block(value) {
  const made = element("pre", typeof value === "string" ? value : JSON.stringify(value, null, 2));
  made.tabIndex = 0;
  return made;
}

// Long texts, which are images, are cut.
function shorten(value) {
  if (typeof value === "string") return value.length > LONGEST ? `${value.slice(0, 40)}… (${value.length} characters)` : value;
  if (Array.isArray(value)) return value.map(shorten);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, shorten(each)]));
}

const addressOf = (path) => new URL(path.slice(1), document.baseURI).href;
const fileField = (each, description) => {
  const properties = resolved(each.requestBody?.content["multipart/form-data"]?.schema, description)?.properties ?? {};
  return ["file", "files"].find((name) => name in properties);
};

function command(path, method, each, description) {
  const field = fileField(each, description);
  const json = each.requestBody?.content["application/json"];
  const example = json && (json.example ?? resolved(json.schema, description)?.examples?.[0]);
  const verb = method === "get" || field || example ? "" : ` -X ${method.toUpperCase()}`;
  const body = field ? ` -F ${field}=@${SAMPLE}` : example ? ` --json '${JSON.stringify(example)}'` : "";
  return `curl -sL${verb}${body} '${addressOf(path)}'`;
}

function trial(path, method, each, description) {
  const field = fileField(each, description);
  if (path.includes("{") || (method !== "get" && !field)) return [];
  const button = element("button", field ? "Try it with a sample image" : "Try it");
  button.type = "button";
  const output = element("div");
  output.setAttribute("role", "status");
  button.addEventListener("click", async () => {
    button.disabled = true;
    output.replaceChildren(block("Waiting for the response…"));
    try {
      output.replaceChildren(block(shorten(await request(path.slice(1), await sampleOf(method, field)))));
    } catch (error) {
      output.replaceChildren(element("p", error instanceof ApiError ? `${error.message} ${error.advice}` : String(error)));
    }
    button.disabled = false;
  });
  return [button, output];
}

async function sampleOf(method, field) {
  if (!field) return { method };
  const body = new FormData();
  body.append(field, await (await fetch(`static/samples/${SAMPLE}`)).blob(), SAMPLE);
  return { method, body };
}

function operation(path, method, each, description) {
  return element(
    "details",
    element("summary", code(`${method.toUpperCase()} ${path}`), " ", element("span", ...prose(each.description?.split("\n")[0] ?? ""))),
    element("p", ...prose(each.description ?? "")),
    block(command(path, method, each, description)),
    ...trial(path, method, each, description),
    ...parameters(each.parameters, description),
    ...bodies(each.requestBody?.content, description),
    ...answers(each.responses, description),
  );
}

document.getElementById("token").addEventListener("input", (event) => setToken(event.target.value));
try {
  const response = await fetch("openapi.json");
  if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
  const description = await response.json();
  main.replaceChildren(
    ...Object.entries(description.paths).sort((one, other) => rank(one) - rank(other)).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, each]) => operation(path, method, each, description)),
    ),
  );
} catch (error) {
  main.textContent = `The description cannot be read: ${error.message}`;
}
