// openapi.json -> every operation with its parameters, bodies and answers. Loads nothing else.
const main = document.getElementById("operations");

const element = (name, ...children) => {
  const made = document.createElement(name);
  made.append(...children);
  return made;
};
const code = (text) => element("code", text);

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
  const line = (cell, values) => element("tr", ...values.map((value) => element(cell, value)));
  return element("table", element("thead", line("th", heads)), element("tbody", ...rows.map((row) => line("td", row))));
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
  return [element("h2", "Parameters"), table(["name", "in", "kind", "default", "meaning"], rows)];
}

function bodies(content, description) {
  return Object.entries(content ?? {}).flatMap(([type, { schema, example }]) => {
    const shown = example ?? resolved(schema, description)?.examples?.[0];
    return [
      element("h2", "Body ", code(type)),
      ...fields(schema, description),
      ...(shown === undefined ? [] : [element("pre", JSON.stringify(shown, null, 2))]),
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
  return [element("h2", "Answers"), table(["status", "when", "what"], rows), ...fields(schema, description)];
}

function operation(path, method, each, description) {
  return element(
    "details",
    element("summary", code(`${method.toUpperCase()} ${path}`), " ", element("span", each.summary ?? "")),
    element("p", each.description ?? ""),
    ...parameters(each.parameters, description),
    ...bodies(each.requestBody?.content, description),
    ...answers(each.responses, description),
  );
}

try {
  const response = await fetch("openapi.json");
  if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
  const description = await response.json();
  main.replaceChildren(
    ...Object.entries(description.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, each]) => operation(path, method, each, description)),
    ),
  );
} catch (error) {
  main.textContent = `The description cannot be read: ${error.message}`;
}
