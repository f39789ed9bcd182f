// The picture with its boxes as a file, drawn as qwenvl/grounding/drawing.py draws it.
import { css, readableOn } from "./colours.js";
import { outlinesOf } from "./figure.js";
import { decoded } from "./pictures.js";

const FONTS = 'system-ui, "Noto Sans", "Noto Sans SC", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", sans-serif';

/**
 * Offer the picture with boxes and phrases as a PNG, in its own size.
 * @param {import("./conversation.js").Picture} picture
 * @param {import("./figure.js").Found[]} found
 */
export async function saveAnnotated(picture, found) {
  const canvas = await annotated(picture, found);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  const address = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = address;
  link.download = `${picture.name.replace(/\.\w+$/, "") || "picture"}-boxes.png`;
  link.click();
  // The download has begun by then, and holds what it needs.
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** @returns {Promise<HTMLCanvasElement>} */
export async function annotated(picture, found) {
  const image = await decoded(picture.url, picture.name);
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0);
  pen.lineWidth = Math.max(1, Math.round(Math.min(canvas.width, canvas.height) / 160));
  pen.lineJoin = "round";
  // Lines of odd width are sharp between pixels, even ones at their edges.
  const sharp = (value) => Math.round(value) + (pen.lineWidth % 2) / 2;
  const drawn = found.map(({ finding, colour }) => ({
    finding,
    colour,
    outlines: outlinesOf(finding).map((points) =>
      points.map(([x, y]) => [sharp((x / 1000) * canvas.width), sharp((y / 1000) * canvas.height)]),
    ),
  }));
  for (const { colour, outlines } of drawn) for (const points of outlines) outline(pen, points, colour);
  // Above all outlines, so that none strikes a phrase through.
  for (const { finding, colour, outlines } of drawn) if (finding.ref && outlines[0]) label(pen, finding.ref, outlines[0], colour);
  return canvas;
}

function outline(pen, points, colour) {
  pen.strokeStyle = css(colour);
  pen.beginPath();
  points.forEach(([x, y]) => pen.lineTo(x, y));
  pen.closePath();
  pen.stroke();
}

function label(pen, text, points, colour) {
  const { width, height } = pen.canvas;
  const size = Math.max(8, Math.round((width + height) / 60));
  const padding = Math.max(1, Math.round(size / 4));
  pen.font = `${size}px ${FONTS}`;
  pen.textBaseline = "middle";
  const shown = shortened(pen, text.replace(/\s+/g, " "), width - 2 * padding);
  const [labelWidth, labelHeight] = [pen.measureText(shown).width + 2 * padding, size * 1.4];
  const [left, top] = [Math.min(...points.map(([x]) => x)), Math.min(...points.map(([, y]) => y))];
  const x = Math.max(0, Math.min(left, width - labelWidth));
  const y = top >= labelHeight ? top - labelHeight : Math.min(top, height - labelHeight);
  pen.fillStyle = css(colour);
  pen.fillRect(x, y, labelWidth, labelHeight);
  pen.fillStyle = readableOn(colour);
  pen.fillText(shown, x + padding, y + labelHeight / 2);
}

function shortened(pen, text, width) {
  if (pen.measureText(text).width <= width) return text;
  const characters = [...text].slice(0, Math.max(0, Math.floor(width)));
  while (characters.length && pen.measureText(`${characters.join("")}…`).width > width) characters.pop();
  return characters.length ? `${characters.join("")}…` : "";
}
