// Levels -> the line where they cross a threshold, as segments in pixels of the image (marching squares).

const FINEST = 320; // points along the longer side: the map itself has far fewer cells

/** Return [x1, y1, x2, y2] segments. */
export function contours(levels, width, height, threshold) {
  const step = Math.max(1, Math.max(width, height) / FINEST);
  const columns = Math.floor((width - 1) / step) + 1;
  const rows = Math.floor((height - 1) / step) + 1;
  const limit = threshold * 255;
  const at = (column, row) => levels[Math.round(row * step) * width + Math.round(column * step)] - limit;
  const segments = [];
  for (let row = 0; row + 1 < rows; row++) {
    for (let column = 0; column + 1 < columns; column++) {
      const corners = [at(column, row), at(column + 1, row), at(column + 1, row + 1), at(column, row + 1)];
      const points = crossings(corners).map(([x, y]) => [(column + x) * step + 0.5, (row + y) * step + 0.5]);
      for (let k = 0; k + 1 < points.length; k += 2) segments.push([...points[k], ...points[k + 1]]);
    }
  }
  return segments;
}

const CORNERS = [[0, 0], [1, 0], [1, 1], [0, 1]];

// The points on the four edges of a square, in order, where the sign changes.
function crossings(corners) {
  return CORNERS.flatMap(([x1, y1], edge) => {
    const next = (edge + 1) % 4;
    const [here, there] = [corners[edge], corners[next]];
    if (here >= 0 === there >= 0) return [];
    const share = here / (here - there);
    const [x2, y2] = CORNERS[next];
    return [[x1 + share * (x2 - x1), y1 + share * (y2 - y1)]];
  });
}
