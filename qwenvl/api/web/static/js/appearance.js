// Language and colours, each a button of the top bar.
import { byId } from "./dom.js";
import { name } from "./figure.js";
import { currentLanguage, preferredLanguage, setLanguage, t } from "./i18n.js";
import { setIcon } from "./icons.js";
import { prefer, preferences } from "./preferences.js";

const THEMES = ["auto", "light", "dark"];
const ICONS = { auto: "auto", light: "sun", dark: "moon" };

/** @param {() => void} onLanguage what was written by scripts must be written again */
export function placeAppearance(onLanguage) {
  setLanguage(preferences().language ?? preferredLanguage());
  showButtons();
  byId("language").addEventListener("click", () => {
    const language = currentLanguage() === "en" ? "zh" : "en";
    prefer({ language });
    setLanguage(language);
    showButtons();
    onLanguage();
  });
  byId("theme").addEventListener("click", () => {
    const theme = THEMES[(THEMES.indexOf(currentTheme()) + 1) % THEMES.length];
    prefer({ theme });
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    showButtons();
  });
}

function currentTheme() {
  return document.documentElement.dataset.theme ?? "auto";
}

function showButtons() {
  const language = byId("language");
  language.textContent = t("languageName");
  language.lang = currentLanguage() === "en" ? "zh-CN" : "en";
  setIcon(byId("theme"), ICONS[currentTheme()]);
  name(byId("theme"), t(`theme${currentTheme()}`));
}
