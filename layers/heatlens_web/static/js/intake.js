// Files come by dropping, pasting, choosing, or as samples.

const element = (id) => document.getElementById(id);

/** Call `take` with each list of files that arrives. */
export function listen(take) {
  const input = element("files");
  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = "";
  });
  document.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (files.length) take(files);
  });
  listenForDrops(take);
}

function listenForDrops(take) {
  const veil = element("drop-here");
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  let inside = 0; // elements that the pointer has entered and not left
  document.addEventListener("dragenter", (event) => {
    if (!hasFiles(event)) return;
    inside += 1;
    veil.hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (hasFiles(event) && --inside <= 0) veil.hidden = true;
  });
  document.addEventListener("dragover", (event) => {
    if (hasFiles(event)) event.preventDefault();
  });
  document.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    inside = 0;
    veil.hidden = true;
    take([...event.dataTransfer.files]);
  });
}

/** List the samples as buttons. */
export async function offerSamples(take, failed) {
  const response = await fetch("static/samples/samples.json");
  if (!response.ok) return;
  const { notice, samples } = await response.json();
  element("samples-notice").textContent = notice;
  element("samples").replaceChildren(...samples.map((sample) => sampleButton(sample, take, failed)));
  element("samples-block").hidden = false;
}

function sampleButton({ file, name, thumbnail }, take, failed) {
  const button = document.createElement("button");
  button.type = "button";
  const picture = Object.assign(document.createElement("img"), { src: `static/thumbnails/${thumbnail}`, alt: "", width: 96, height: 96 });
  button.append(picture, Object.assign(document.createElement("span"), { textContent: name }));
  button.addEventListener("click", async () => {
    try {
      const response = await fetch(`static/samples/${file}`);
      if (!response.ok) throw new Error(`the sample ${file} could not be loaded`);
      take([new File([await response.blob()], file)]);
    } catch (error) {
      failed(error);
    }
  });
  const entry = document.createElement("li");
  entry.append(button);
  return entry;
}
