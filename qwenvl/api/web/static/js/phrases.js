// Where findings stand in an answer's text. The API counts characters as Unicode's code points, JavaScript in UTF-16.

/**
 * @typedef {{x1: number, y1: number, x2: number, y2: number, confidence?: number}} Box
 * @typedef {{ref: string | null, boxes: Box[], quads: {points: [number, number][]}[], image_index: number | null,
 *   span: [number, number]}} Finding coordinates are thousandths of the picture
 */

const OPEN = "\uE000";
const CLOSE = "\uE001";
const FIRST = 0xe100;
const MOST = 0xf8ff - FIRST;
const PRIVATE = /[\uE000-\uF8FF]/g;
const MARKS = /\uE000([\uE100-\uF8FF])|\uE001/g;

/**
 * The text with a mark before and behind each finding's phrase, which Markdown leaves where they are.
 *
 * The marks are private-use characters; those of the text itself, which have no meaning here, become U+FFFD.
 * @param {string} text
 * @param {Finding[]} findings
 */
export function marked(text, findings) {
  const characters = [...text.replace(PRIVATE, "\uFFFD")];
  const inserts = new Map();
  findings.slice(0, MOST).forEach(({ span: [start, end] }, i) => {
    if (start > end || end > characters.length) return;
    const open = OPEN + String.fromCharCode(FIRST + i);
    if (start === end) {
      inserts.set(start, (inserts.get(start) ?? "") + open + CLOSE);
      return;
    }
    inserts.set(start, (inserts.get(start) ?? "") + open);
    // A phrase ends before the next begins.
    inserts.set(end, CLOSE + (inserts.get(end) ?? ""));
  });
  let result = "";
  for (let i = 0; i <= characters.length; i++) result += (inserts.get(i) ?? "") + (characters[i] ?? "");
  return result;
}

/** @param {string} text that may hold marks */
export function unmarked(text) {
  return text.replace(MARKS, "");
}

/**
 * The pieces of a marked text: strings, `{open: index of a finding}` and `{close: true}`.
 * @returns {Generator<{text?: string, open?: number, close?: true}>}
 */
export function* pieces(text) {
  let at = 0;
  for (const match of text.matchAll(MARKS)) {
    if (match.index > at) yield { text: text.slice(at, match.index) };
    at = match.index + match[0].length;
    yield match[1] ? { open: match[1].charCodeAt(0) - FIRST } : { close: true };
  }
  if (at < text.length) yield { text: text.slice(at) };
}

/**
 * An answer as the model wrote it, with its tags: it goes on best from its own form.
 * @param {string} text without tags
 * @param {Finding[]} findings
 */
export function withTags(text, findings) {
  const characters = [...text];
  let result = "";
  let at = 0;
  for (const finding of [...findings].sort((a, b) => a.span[0] - b.span[0])) {
    const [start, end] = finding.span;
    if (start < at || end > characters.length) continue;
    const phrase = characters.slice(start, end).join("");
    result += characters.slice(at, start).join("");
    result += finding.ref === null ? phrase : `<ref>${phrase}</ref>`;
    for (const { x1, y1, x2, y2 } of finding.boxes) result += `<box>${point([x1, y1])},${point([x2, y2])}</box>`;
    for (const { points } of finding.quads) result += `<quad>${points.map(point).join(",")}</quad>`;
    at = end;
  }
  return result + characters.slice(at).join("");
}

function point([x, y]) {
  return `(${Math.round(x)},${Math.round(y)})`;
}
