// The settings sheet. What is changed holds from the next request on.
import { byId, element } from "./dom.js";
import { t } from "./i18n.js";
import { apiKey, isKeyRemembered, keepApiKey, prefer, preferences } from "./preferences.js";

/** Parameters of a request, with the API's own limits. */
const SAMPLING = {
  temperature: { min: 0, max: 2, step: 0.1 },
  top_p: { min: 0.01, max: 1, step: 0.01 },
  top_k: { min: 0, max: 1000, step: 1 },
  max_tokens: { min: 1, max: 8192, step: 1 },
  repetition_penalty: { min: 0.01, max: 2, step: 0.01 },
  seed: { min: 0, max: 2 ** 31, step: 1 },
};

export class SettingsSheet {
  /** @param {{onKey: () => void}} listener `onKey`: the key is another now */
  constructor({ onKey }) {
    this.onKey = onKey;
    this.dialog = byId("settings");
    this.body = byId("settings-body");
    byId("open-settings").addEventListener("click", () => this.open());
    byId("close-settings").addEventListener("click", () => this.dialog.close());
    byId("settings-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.dialog.close();
    });
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
  }

  /** @param {boolean} [atKey] with the focus on the field of the API key */
  open(atKey = false) {
    this.body.replaceChildren(this.access(), this.instructions(), this.sampling());
    this.dialog.showModal();
    if (atKey) byId("api-key").focus();
  }

  access() {
    const key = element("input", { id: "api-key", type: "password", autocomplete: "off", spellcheck: "false" });
    key.value = apiKey();
    const remember = element("input", { type: "checkbox", id: "remember" });
    remember.checked = isKeyRemembered();
    const keep = () => {
      keepApiKey(key.value.trim(), remember.checked);
      this.onKey();
    };
    key.addEventListener("change", keep);
    remember.addEventListener("change", keep);
    return section(
      "access",
      field(t("apiKey"), key, t("apiKeyHint")),
      element("label", { class: "check" }, remember, t("remember")),
    );
  }

  instructions() {
    const text = element("textarea", { id: "instructions", rows: "3", dir: "auto" });
    text.value = preferences().instructions ?? "";
    text.addEventListener("change", () => prefer({ instructions: text.value.trim() }));
    return section("instructions", field(null, text, t("instructionsHint"), t("instructions")));
  }

  sampling() {
    const fields = Object.entries(SAMPLING).map(([name, limits]) => numberField(name, limits));
    const reset = element("button", { type: "button", class: "button", text: t("reset") });
    reset.addEventListener("click", () => {
      prefer({ sampling: {} });
      this.body.querySelector(".grid").closest("section").replaceWith(this.sampling());
    });
    const made = section("sampling", element("div", { class: "grid" }, ...fields), element("p", { class: "hint", text: t("samplingHint") }));
    made.append(reset);
    return made;
  }
}

function numberField(name, { min, max, step }) {
  const input = element("input", { id: name, type: "number", min, max, step, inputmode: "decimal", placeholder: "–" });
  input.value = preferences().sampling?.[name] ?? "";
  const hint = element("small", { class: "hint", text: t("from", { min, max }) });
  input.addEventListener("input", () => {
    const { [name]: _, ...others } = preferences().sampling ?? {};
    const value = input.valueAsNumber;
    const isRight = value >= min && value <= max && (step < 1 || Number.isInteger(value));
    const isEmpty = input.value === "" && !input.validity.badInput;
    input.setAttribute("aria-invalid", String(!isRight && !isEmpty));
    hint.textContent = isRight || isEmpty ? t("from", { min, max }) : t("wrongNumber", { min, max });
    prefer({ sampling: isRight ? { ...others, [name]: value } : others });
  });
  return element("label", { class: "field" }, element("span", { text: t(name) }), input, hint);
}

function section(title, ...children) {
  return element("section", {}, element("h3", { text: t(title) }), ...children);
}

function field(label, input, hint, ariaLabel) {
  if (ariaLabel) input.setAttribute("aria-label", ariaLabel);
  return element(
    "label",
    { class: "field" },
    label && element("span", { text: label }),
    input,
    element("small", { class: "hint", text: hint }),
  );
}
