// A picture with boxes over it, which light up together with their phrases.
import { saveAnnotated } from "./annotated.js";
import { css, readableOn } from "./colours.js";
import { element, svg } from "./dom.js";
import { t } from "./i18n.js";
import { icon, setIcon } from "./icons.js";

/** @typedef {{index: number, finding: import("./phrases.js").Finding, colour: number[]}} Found */

/** Thousandths of the picture are the overlay's own units, whatever size it is shown at. */
const UNITS = 1000;
/** A label stands above its box, unless the box is this near to the picture's upper edge. */
const LABEL_ROOM = 70;

export class Figure {
  /**
   * @param {import("./conversation.js").Picture} picture
   * @param {{onEnlarge?: () => void, label: string}} options
   */
  constructor(picture, { onEnlarge, label }) {
    this.picture = picture;
    this.found = [];
    this.image = element("img", { src: picture.url, alt: label, width: picture.width, height: picture.height });
    this.overlay = svg("svg", {
      class: "boxes", viewBox: `0 0 ${UNITS} ${UNITS}`, preserveAspectRatio: "none", "aria-hidden": "true",
    });
    this.labels = element("div", { class: "labels", "aria-hidden": "true" });
    this.stage = element("div", { class: "stage" }, this.image, this.overlay, this.labels);
    // By its own shape, so that nothing moves when the picture has been decoded.
    this.stage.style.setProperty("--ratio", String(picture.width / picture.height));
    this.count = element("span", { class: "count" });
    this.hide = button("boxes", t("hideBoxes"), () => this.toggle(), { "aria-pressed": "false" });
    this.element = element(
      "figure",
      { class: "figure", "aria-label": label },
      this.stage,
      element(
        "figcaption",
        {},
        this.count,
        this.hide,
        onEnlarge && button("expand", t("enlarge"), onEnlarge),
        button("save", t("save"), () => saveAnnotated(this.picture, this.found)),
      ),
    );
  }

  /** @param {Found[]} found all that is found in this picture so far */
  update(found) {
    for (const next of found.slice(this.found.length)) this.draw(next);
    this.found = found;
    const count = found.reduce((sum, { finding }) => sum + finding.boxes.length + finding.quads.length, 0);
    this.count.textContent = count === 1 ? t("oneBox") : t("boxCount", { count });
  }

  draw({ index, finding, colour }) {
    const outlines = outlinesOf(finding);
    for (const points of outlines) {
      const outline = svg("polygon", { points: points.map((point) => point.join(",")).join(" "), stroke: css(colour) });
      outline.dataset.finding = String(index);
      outline.style.setProperty("--colour", css(colour));
      this.overlay.append(outline);
    }
    if (outlines.length === 0) return;
    const label = element("span", { text: finding.ref ?? String(index + 1), data: { finding: String(index) } });
    label.style.backgroundColor = css(colour);
    label.style.color = readableOn(colour);
    const left = Math.min(...outlines[0].map(([x]) => x));
    const top = Math.min(...outlines[0].map(([, y]) => y));
    label.style.left = `${left / 10}%`;
    label.style.top = `${top / 10}%`;
    label.classList.toggle("inside", top < LABEL_ROOM);
    label.classList.toggle("from-right", left > UNITS * 0.7);
    label.style.setProperty("--room", `${(UNITS - left) / 10}%`);
    this.labels.append(label);
  }

  toggle() {
    const hidden = this.stage.classList.toggle("without-boxes");
    this.hide.setAttribute("aria-pressed", String(hidden));
    name(this.hide, hidden ? t("showBoxes") : t("hideBoxes"));
  }
}

/**
 * A finding's outlines, inside of the picture, in thousandths.
 * @param {import("./phrases.js").Finding} finding
 * @returns {[number, number][][]}
 */
export function outlinesOf({ boxes, quads }) {
  const corners = boxes.map(({ x1, y1, x2, y2 }) => {
    const [left, right, top, bottom] = [Math.min(x1, x2), Math.max(x1, x2), Math.min(y1, y2), Math.max(y1, y2)];
    return [[left, top], [right, top], [right, bottom], [left, bottom]];
  });
  const all = [...corners, ...quads.map(({ points }) => points)];
  return all.map((points) => points.map((point) => point.map((value) => Math.min(UNITS, Math.max(0, value)))));
}

/**
 * Light up whatever belongs to the finding under the pointer or the focus: its phrase, its boxes, its labels.
 * @param {HTMLElement} root an answer
 */
export function lightTogether(root) {
  const light = (event) => lit(root, event.target.closest?.("[data-finding]")?.dataset.finding);
  root.addEventListener("pointerover", light);
  root.addEventListener("pointerleave", () => lit(root, undefined));
  root.addEventListener("focusin", light);
  root.addEventListener("focusout", () => lit(root, undefined));
}

function lit(root, index) {
  root.classList.toggle("has-lit", index !== undefined);
  for (const node of root.querySelectorAll("[data-finding]")) {
    node.classList.toggle("lit", node.dataset.finding === index);
  }
}

/** A round button with an icon. */
export function button(iconName, label, onClick, attributes = {}) {
  const made = element("button", { type: "button", class: "icon-button small", on: { click: onClick }, ...attributes });
  made.append(icon(iconName));
  name(made, label);
  return made;
}

export function name(node, label) {
  node.setAttribute("aria-label", label);
  node.title = label;
}

/** Show for a moment that a button has done its work. */
export function confirmOn(node, iconName, label) {
  const before = node.title;
  setIcon(node, "check");
  name(node, label);
  setTimeout(() => {
    setIcon(node, iconName);
    name(node, before);
  }, 1600);
}
