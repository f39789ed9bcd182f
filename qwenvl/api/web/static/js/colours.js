// As qwenvl/grounding/drawing.py has them: the picture saved here and one drawn there look alike.
const COLOURS = [
  [230, 25, 75],
  [0, 130, 200],
  [60, 160, 60],
  [245, 130, 48],
  [145, 30, 180],
  [0, 150, 150],
  [240, 50, 230],
  [128, 90, 0],
  [255, 205, 0],
  [0, 0, 128],
];

/**
 * Each finding's colour, as [red, green, blue]: equal phrases have equal ones, a finding without a phrase its own.
 * @param {import("./phrases.js").Finding[]} findings
 */
export function coloursOf(findings) {
  const known = new Map();
  return findings.map(({ ref }, i) => {
    const key = ref ?? i;
    if (!known.has(key)) known.set(key, COLOURS[known.size % COLOURS.length]);
    return known.get(key);
  });
}

/** @param {number[]} colour */
export function css([red, green, blue]) {
  return `rgb(${red}, ${green}, ${blue})`;
}

/** Black or white, whichever is read better on a colour. */
export function readableOn([red, green, blue]) {
  return 0.299 * red + 0.587 * green + 0.114 * blue > 150 ? "#000" : "#fff";
}
