import en from "./locales/en.js";
import zh from "./locales/zh.js";

const TEXTS = { en, zh };
const TAGS = { en: "en", zh: "zh-CN" };

let language = "en";

/** What a user who has chosen nothing reads. */
export function preferredLanguage() {
  const first = navigator.languages.find((tag) => /^(en|zh)\b/i.test(tag)) ?? "en";
  return first.toLowerCase().startsWith("zh") ? "zh" : "en";
}

export function currentLanguage() {
  return language;
}

/** The language as a BCP 47 tag, for dates, numbers and the `lang` attribute. */
export function languageTag() {
  return TAGS[language];
}

/** A text, with what stands in braces replaced. */
export function t(key, values = {}) {
  const text = TEXTS[language][key] ?? TEXTS.en[key];
  if (text === undefined) throw new Error(`no text ${key}`);
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

/** @param {"en" | "zh"} chosen */
export function setLanguage(chosen) {
  language = chosen in TEXTS ? chosen : "en";
  document.documentElement.lang = languageTag();
  translate(document);
}

/** Fill in the texts of HTML that names them. */
export function translate(root) {
  for (const node of root.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t);
  for (const node of root.querySelectorAll("[data-t-placeholder]")) node.placeholder = t(node.dataset.tPlaceholder);
  for (const node of root.querySelectorAll("[data-t-label]")) {
    node.setAttribute("aria-label", t(node.dataset.tLabel));
    if (node instanceof HTMLButtonElement) node.title = t(node.dataset.tLabel);
  }
}
