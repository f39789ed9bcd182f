import { element } from "./dom.js";
import { t } from "./i18n.js";

/** A question that is being changed, in its place. */
export class Editor {
  /**
   * @param {import("./conversation.js").UserTurn} turn
   * @param {{onSend: (text: string) => void, onCancel: () => void}} listener
   */
  constructor({ text, pictures }, { onSend, onCancel }) {
    const send = () => {
      const changed = this.field.value.trim();
      if (changed || pictures.length) onSend(changed);
    };
    this.field = element("textarea", { "aria-label": t("edit"), rows: "1", dir: "auto" });
    this.field.value = text;
    this.field.addEventListener("input", () => fitHeight(this.field));
    this.field.addEventListener("keydown", (event) => {
      if (isSendKey(event)) {
        event.preventDefault();
        send();
      } else if (event.key === "Escape" && !event.isComposing) {
        event.stopPropagation();
        onCancel();
      }
    });
    this.element = element(
      "div",
      { class: "editor" },
      pictures.length > 0 && element("div", { class: "pictures" }, ...pictures.map(({ url, name }) => element("img", { src: url, alt: name }))),
      this.field,
      element(
        "div",
        { class: "buttons" },
        element("button", { type: "button", class: "button", text: t("cancel"), on: { click: onCancel } }),
        element("button", { type: "button", class: "button primary", text: t("saveAndSend"), on: { click: send } }),
      ),
    );
  }

  focus() {
    fitHeight(this.field);
    this.field.focus();
    this.field.setSelectionRange(this.field.value.length, this.field.value.length);
  }
}

/** Enter sends; with Shift it starts a line, and while an input method composes it belongs to that. */
export function isSendKey(event) {
  return event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229;
}

/** Make a text field as high as its text. The style sheet bounds it. */
export function fitHeight(field) {
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight + field.offsetHeight - field.clientHeight}px`;
}
