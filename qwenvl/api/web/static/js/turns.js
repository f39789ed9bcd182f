// Turns as elements.
import { coloursOf, css } from "./colours.js";
import { picturesBefore } from "./conversation.js";
import { element, replaceChanged } from "./dom.js";
import { Editor } from "./editor.js";
import { Figure, button, confirmOn, lightTogether } from "./figure.js";
import { languageTag, t } from "./i18n.js";
import { icon } from "./icons.js";
import { copyText } from "./clipboard.js";
import { enlarge } from "./lightbox.js";
import { render } from "./markdown.js";

/** @typedef {{again: (index: number) => void, edit: (index: number, text: string,
 *   pictures: import("./conversation.js").Picture[]) => void, enterKey: () => void}} Actions */

export class UserView {
  /**
   * @param {import("./conversation.js").UserTurn} turn
   * @param {number} index
   * @param {Actions} actions
   */
  constructor(turn, index, actions) {
    this.turn = turn;
    this.index = index;
    this.actions = actions;
    this.element = element("article", { class: "turn user", "aria-label": t("user") });
    this.show();
  }

  show() {
    const { text, pictures } = this.turn;
    const copy = button("copy", t("copy"), async () => (await copyText(text)) && confirmOn(copy, "copy", t("copied")));
    const edit = button("edit", t("edit"), () => this.edit());
    this.element.replaceChildren(
      ...(pictures.length ? [element("div", { class: "pictures" }, ...pictures.map(pictureButton))] : []),
      ...(text ? [element("div", { class: "bubble", text, dir: "auto" })] : []),
      element("div", { class: "actions" }, text && copy, edit),
    );
  }

  edit() {
    const editor = new Editor(this.turn, {
      onSend: (text) => this.actions.edit(this.index, text, this.turn.pictures),
      onCancel: () => {
        this.show();
        this.element.querySelector(".actions button:last-child").focus();
      },
    });
    this.element.replaceChildren(editor.element);
    editor.focus();
  }
}

function pictureButton(picture) {
  return element(
    "button",
    { type: "button", class: "picture", title: t("enlarge"), on: { click: () => enlarge(picture) } },
    element("img", { src: picture.url, alt: picture.name, width: picture.width, height: picture.height }),
  );
}

export class AnswerView {
  /**
   * @param {import("./conversation.js").Conversation} conversation
   * @param {number} index
   * @param {Actions} actions
   */
  constructor(conversation, index, actions) {
    this.turn = conversation.turns[index];
    this.index = index;
    this.actions = actions;
    this.pictures = picturesBefore(conversation, index);
    /** @type {Map<number, Figure>} by the picture's number */
    this.figures = new Map();
    this.text = element("div", { class: "text", dir: "auto" });
    this.figureRow = element("div", { class: "figures" });
    this.below = element("div", { class: "below" });
    this.element = element(
      "article",
      { class: "turn assistant", "aria-label": t("assistant") },
      this.text,
      this.figureRow,
      this.below,
    );
    lightTogether(this.element);
    this.update();
  }

  update() {
    const { turn } = this;
    const colours = coloursOf(turn.findings);
    const isWaiting = turn.state === "streaming" && !turn.text;
    this.element.classList.toggle("streaming", turn.state === "streaming");
    this.element.setAttribute("aria-busy", String(turn.state === "streaming"));
    const nodes = isWaiting ? waiting() : render(turn.text, turn.findings, (i, empty) => this.mark(i, empty, colours[i]));
    replaceChanged(this.text, nodes);
    this.updateFigures(colours);
    if (turn.state !== "streaming") this.below.replaceChildren(...this.endOf());
  }

  mark(index, empty, colour) {
    const { ref } = this.turn.findings[index];
    const mark = element("mark", { tabindex: "0", data: { finding: String(index) } });
    if (empty) {
      mark.classList.add("chip");
      mark.append(icon("boxes"), ref ?? String(index + 1));
      mark.setAttribute("aria-label", ref ?? t("noPhrase", { number: index + 1 }));
    }
    mark.style.setProperty("--colour", css(colour));
    return mark;
  }

  updateFigures(colours) {
    const all = this.turn.findings.map((finding, index) => ({ index, finding, colour: colours[index] }));
    for (const number of new Set(all.map(({ finding }) => finding.image_index))) {
      const picture = number === null ? undefined : this.pictures[number];
      if (picture) this.figure(number, picture).update(all.filter(({ finding }) => finding.image_index === number));
    }
  }

  figure(number, picture) {
    let figure = this.figures.get(number);
    if (!figure) {
      const label = this.pictures.length > 1 ? t("pictureNumber", { number: number + 1 }) : t("picture");
      figure = new Figure(picture, { label, onEnlarge: () => enlarge(picture, figure.found) });
      this.figures.set(number, figure);
      this.figureRow.append(figure.element);
    }
    return figure;
  }

  *endOf() {
    const { turn } = this;
    if (turn.state === "failed") yield this.failure();
    if (turn.state === "stopped") yield element("p", { class: "remark", text: t("stopped") });
    if (turn.finish === "length") yield element("p", { class: "remark", text: t("cutOff") });
    const copy = button("copy", t("copy"), async () => (await copyText(turn.text)) && confirmOn(copy, "copy", t("copied")));
    yield element(
      "div",
      { class: "actions" },
      turn.text && copy,
      button("again", t("again"), () => this.actions.again(this.index)),
      element("span", { class: "facts", text: factsOf(turn) }),
    );
  }

  failure() {
    const { message = t("brokeOff"), status = 0 } = this.turn.error ?? {};
    const text = element(
      "div",
      {},
      element("strong", { text: t(this.turn.text ? "brokenTitle" : "failedTitle") }),
      element("p", { text: message, dir: "auto" }),
      element(
        "div",
        { class: "buttons" },
        status === 401 && element("button", { type: "button", class: "button", text: t("enterKey"), on: { click: this.actions.enterKey } }),
        element("button", { type: "button", class: "button", text: t("retry"), on: { click: () => this.actions.again(this.index) } }),
      ),
    );
    return element("div", { class: "failure", role: "alert" }, icon("warning"), text);
  }
}

function waiting() {
  return element("p", { class: "waiting" }, element("span"), element("span"), element("span"), element("em", { class: "hidden", text: t("answering") }));
}

/** @param {import("./conversation.js").AssistantTurn} turn */
function factsOf({ model, tokens, seconds }) {
  const number = new Intl.NumberFormat(languageTag(), { maximumFractionDigits: 1 });
  const facts = [model];
  if (tokens !== undefined) facts.push(t("tokens", { count: number.format(tokens) }));
  if (seconds !== undefined) facts.push(t("seconds", { seconds: number.format(seconds) }));
  return facts.filter(Boolean).join(" · ");
}
