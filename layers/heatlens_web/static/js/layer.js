// One explanation as the viewer draws it: levels are computed once per map and scale, colors once per colormap.
import { colored } from "./colors.js";
import { contours } from "./contours.js";
import { fullHeat, heatOf, levelsInBox, noHeat } from "./heat.js";
import { canvasOf } from "./pictures.js";

const MOST_PIXELS = 4_000_000; // larger pictures are drawn with levels of a fraction of their pixels

export class Layer {
  constructor(map) {
    this.map = map;
    const [left, top, right, bottom] = map.box;
    const factor = Math.ceil(Math.sqrt(((right - left) * (bottom - top)) / MOST_PIXELS));
    this.width = Math.ceil((right - left) / factor);
    this.height = Math.ceil((bottom - top) / factor);
  }

  /** Prepare the colors: `look` has signed, full, cells, colormap, table and threshold. */
  paint(look) {
    const scale = `${look.signed} ${look.full} ${look.cells}`;
    if (scale !== this.scale) {
      const heat = heatOf(this.map, look);
      this.levels = levelsInBox(this.map, heat, this.width, this.height, look);
      this.most = fullHeat(this.map, look);
      Object.assign(this, { scale, signed: look.signed });
    }
    const colors = `${scale} ${look.colormap} ${look.threshold}`;
    if (colors === this.colors) return;
    const image = colored(this.levels, this.width, this.height, look.table, look.threshold);
    this.canvas = canvasOf(this.width, this.height, (context) => context.putImageData(image, 0, 0));
    const level = noHeat(look.signed);
    const [red, green, blue] = look.table.subarray(3 * level, 3 * level + 3);
    this.outside = level < look.threshold * 255 ? null : `rgb(${red} ${green} ${blue})`;
    this.colors = colors;
  }

  /** Draw the heat over a picture of width x height pixels. */
  draw(context, width, height) {
    const [left, top, right, bottom] = this.map.box;
    if (this.outside && (left > 0 || top > 0 || right < width || bottom < height)) {
      context.fillStyle = this.outside;
      context.beginPath();
      context.rect(0, 0, width, height);
      context.rect(left, top, right - left, bottom - top);
      context.fill("evenodd");
    }
    context.drawImage(this.canvas, left, top, right - left, bottom - top);
  }

  /** The outline of the heat from a share of the scale on, as segments in pixels of the picture. */
  outline(share) {
    const threshold = this.signed ? 0.5 + share / 2 : share;
    const key = `${this.scale} ${threshold}`;
    if (key !== this.outlined) {
      const [left, top, right, bottom] = this.map.box;
      const [across, down] = [(right - left) / this.width, (bottom - top) / this.height];
      this.segments = contours(this.levels, this.width, this.height, threshold).map(([x1, y1, x2, y2]) => [
        left + x1 * across, top + y1 * down, left + x2 * across, top + y2 * down,
      ]);
      this.outlined = key;
    }
    return this.segments;
  }
}
