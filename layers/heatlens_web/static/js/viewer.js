// The panes: a picture and its heat, drawn for the screen's pixels; zoom and position are the same in all panes.
import { cellAt } from "./heat.js";

const MOST_ZOOM = 32;
const STEP = 1.25;
const PAN = 60; // screen pixels that an arrow key moves
const HANDLE = 14; // screen pixels beside the slider's line that take hold of it

export class Viewer {
  constructor(canvases, { onHover, onSplit }) {
    Object.assign(this, { canvases, onHover, onSplit });
    this.mouse = null; // where the pointer rests on the screen
    this.panes = []; // { layer, heat, regions } for each visible canvas
    this.view = { alpha: 0.4, outline: null, split: null };
    this.picture = null; // { source, width, height }
    this.isFitted = true; // until it is zoomed or moved, the picture follows the window
    this.pointers = new Map();
    for (const canvas of canvases) this.listen(canvas);
    const observer = new ResizeObserver(() => this.resize());
    for (const canvas of canvases) observer.observe(canvas);
    document.addEventListener("pointermove", ({ clientX, clientY }) => { this.mouse = [clientX, clientY]; }, true);
    document.addEventListener("pointerleave", () => { this.mouse = null; });
    matchMedia(`(resolution: ${devicePixelRatio}dppx)`).addEventListener?.("change", () => this.resize());
  }

  /** Show a picture; the zoom is kept unless it is another one. */
  show(picture, panes, view) {
    const isOther = this.picture?.source !== picture.source;
    Object.assign(this, { picture, panes, view });
    this.resize();
    if (isOther) this.fit();
  }

  /** Remove what is shown. */
  clear() {
    Object.assign(this, { picture: null, panes: [] });
    this.draw();
  }

  resize() {
    for (const canvas of this.canvases) {
      const { width, height } = canvas.getBoundingClientRect();
      const [across, down] = [Math.round(width * devicePixelRatio), Math.round(height * devicePixelRatio)];
      if (canvas.width !== across || canvas.height !== down) Object.assign(canvas, { width: across, height: down });
    }
    if (this.isFitted) this.fit();
    else this.draw();
  }

  fit() {
    if (!this.picture) return;
    const { width, height } = this.picture;
    this.center = [width / 2, height / 2];
    this.zoom = this.fitting();
    this.isFitted = true;
    this.draw();
  }

  fitting() {
    const { width, height } = this.picture;
    return Math.min(this.canvases[0].width / width, this.canvases[0].height / height) || 1;
  }

  /** Zoom by a factor around a point of the canvas, or its middle. */
  zoomBy(factor, at = null) {
    if (!this.picture) return;
    const canvas = this.canvases[0];
    const [x, y] = at ?? [canvas.width / 2, canvas.height / 2];
    const [pictureX, pictureY] = this.pictureAt(canvas, x, y);
    this.zoom = Math.min(MOST_ZOOM * devicePixelRatio, Math.max(this.fitting() / 2, this.zoom * factor));
    this.center = [pictureX - (x - canvas.width / 2) / this.zoom, pictureY - (y - canvas.height / 2) / this.zoom];
    this.keepInside();
  }

  panBy(x, y) {
    if (!this.picture) return;
    this.center = [this.center[0] - x / this.zoom, this.center[1] - y / this.zoom];
    this.keepInside();
  }

  keepInside() {
    const { width, height } = this.picture;
    this.center = [Math.min(width, Math.max(0, this.center[0])), Math.min(height, Math.max(0, this.center[1]))];
    this.isFitted = false;
    this.draw();
  }

  pictureAt(canvas, x, y) {
    return [this.center[0] + (x - canvas.width / 2) / this.zoom, this.center[1] + (y - canvas.height / 2) / this.zoom];
  }

  draw() {
    this.canvases[0].closest(".panes").classList.toggle("fitted", this.isFitted); // then a swipe moves the page
    this.canvases.forEach((canvas, index) => {
      const context = canvas.getContext("2d");
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.clearRect(0, 0, canvas.width, canvas.height);
      if (this.picture && this.panes[index]) this.drawPane(canvas, context, this.panes[index]);
    });
    this.readUnderPointer();
  }

  // A pointer that rests reads what is drawn under it now.
  readUnderPointer() {
    if (!this.picture || !this.mouse) return;
    const canvas = document.elementFromPoint(...this.mouse);
    if (this.canvases.includes(canvas)) this.hover(canvas, ...placeOn(canvas, ...this.mouse));
  }

  drawPane(canvas, context, { layer, heat, regions }) {
    const { source, width, height } = this.picture;
    const [x, y] = [canvas.width / 2 - this.center[0] * this.zoom, canvas.height / 2 - this.center[1] * this.zoom];
    context.setTransform(this.zoom, 0, 0, this.zoom, x, y);
    context.imageSmoothingEnabled = this.zoom < 4;
    context.imageSmoothingQuality = "high";
    context.drawImage(source, 0, 0, width, height);
    if (!heat || !layer) return;
    context.save();
    if (this.view.split !== null) {
      const from = (this.view.split * canvas.width - x) / this.zoom;
      context.beginPath();
      context.rect(from, 0, width - from, height);
      context.clip();
    }
    context.globalAlpha = this.view.alpha;
    layer.draw(context, width, height);
    context.restore();
    if (this.view.outline !== null) this.drawOutline(context, layer);
    for (const region of regions ?? []) this.drawRegion(context, region);
    if (this.view.split !== null) this.drawHandle(canvas, context);
  }

  // A dark line below a light one is seen on every color.
  stroke(context, path) {
    for (const [color, size] of [["rgb(0 0 0 / 70%)", 3.5], ["white", 1.5]]) {
      context.strokeStyle = color;
      context.lineWidth = (size * devicePixelRatio) / this.zoom;
      context.stroke(path);
    }
  }

  drawOutline(context, layer) {
    const path = new Path2D();
    for (const [x1, y1, x2, y2] of layer.outline(this.view.outline)) {
      path.moveTo(x1, y1);
      path.lineTo(x2, y2);
    }
    this.stroke(context, path);
  }

  drawRegion(context, { box: [left, top, right, bottom], contours, name }) {
    const path = new Path2D();
    path.rect(left, top, right - left, bottom - top);
    for (const polygon of contours ?? []) {
      polygon.forEach(([x, y], index) => (index ? path.lineTo(x, y) : path.moveTo(x, y)));
      path.closePath();
    }
    this.stroke(context, path);
    const size = (13 * devicePixelRatio) / this.zoom;
    context.font = `600 ${size}px system-ui, sans-serif`;
    context.lineWidth = size / 4;
    context.strokeStyle = "rgb(0 0 0 / 80%)";
    context.strokeText(name, left + size / 4, top - size / 3);
    context.fillStyle = "white";
    context.fillText(name, left + size / 4, top - size / 3);
  }

  drawHandle(canvas, context) {
    context.setTransform(1, 0, 0, 1, 0, 0);
    const x = this.view.split * canvas.width;
    context.fillStyle = "white";
    context.fillRect(x - devicePixelRatio, 0, 2 * devicePixelRatio, canvas.height);
    context.beginPath();
    context.arc(x, canvas.height / 2, 11 * devicePixelRatio, 0, 2 * Math.PI);
    context.fill();
    context.fillStyle = "black";
    context.font = `${13 * devicePixelRatio}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText("↔", x, canvas.height / 2);
  }

  listen(canvas) {
    const place = (event) => placeOn(canvas, event.clientX, event.clientY);
    canvas.addEventListener("wheel", (event) => {
      if (!this.picture) return;
      event.preventDefault();
      this.zoomBy(Math.exp(-event.deltaY / 400), place(event));
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, place(event));
      const { split } = this.view;
      this.splitting = split !== null && Math.abs(place(event)[0] - split * canvas.width) < HANDLE * devicePixelRatio;
    });
    canvas.addEventListener("pointermove", (event) => this.moved(canvas, event, place(event)));
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => this.pointers.delete(event.pointerId));
    }
    canvas.addEventListener("pointerleave", () => this.onHover(null));
    canvas.addEventListener("dblclick", () => this.fit());
    canvas.addEventListener("keydown", (event) => this.pressed(event));
  }

  moved(canvas, event, [x, y]) {
    if (!this.picture) return;
    const before = this.pointers.get(event.pointerId);
    if (!before) this.hover(canvas, x, y);
    else if (this.splitting) this.onSplit(Math.min(1, Math.max(0, x / canvas.width)));
    else if (this.pointers.size === 1) this.panBy(x - before[0], y - before[1]);
    else this.pinch(event.pointerId, before, [x, y]);
    if (before) this.pointers.set(event.pointerId, [x, y]);
  }

  pinch(id, before, now) {
    const [other] = [...this.pointers].filter(([each]) => each !== id).map(([, at]) => at);
    const distance = ([x, y]) => Math.hypot(x - other[0], y - other[1]) || 1;
    this.zoomBy(distance(now) / distance(before), [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2]);
  }

  hover(canvas, x, y) {
    const layer = this.panes[this.canvases.indexOf(canvas)]?.layer ?? this.panes.find((pane) => pane.layer)?.layer;
    const [pictureX, pictureY] = this.pictureAt(canvas, x, y).map(Math.floor);
    const { width, height } = this.picture;
    const isInside = pictureX >= 0 && pictureY >= 0 && pictureX < width && pictureY < height;
    this.onHover(isInside ? { x: pictureX, y: pictureY, cell: layer && cellAt(layer.map, pictureX, pictureY) } : null);
  }

  pressed(event) {
    const move = PAN * devicePixelRatio;
    const actions = {
      "+": () => this.zoomBy(STEP), "=": () => this.zoomBy(STEP), "-": () => this.zoomBy(1 / STEP), 0: () => this.fit(),
      ArrowLeft: () => this.panBy(move, 0), ArrowRight: () => this.panBy(-move, 0),
      ArrowUp: () => this.panBy(0, move), ArrowDown: () => this.panBy(0, -move),
    };
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in actions)) return;
    event.preventDefault();
    actions[event.key]();
  }
}

// A point of the screen in pixels of the canvas.
function placeOn(canvas, x, y) {
  const { left, top } = canvas.getBoundingClientRect();
  return [(x - left) * devicePixelRatio, (y - top) * devicePixelRatio];
}
