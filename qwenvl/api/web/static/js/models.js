import { listModels } from "./api.js";
import { byId, element } from "./dom.js";
import { t } from "./i18n.js";
import { apiKey, prefer, preferences } from "./preferences.js";

/** The choice among the models and adapters that are served. */
export class Models {
  /** @param {{onError: (error: import("./api.js").ApiError) => void, onLoaded: () => void}} listener */
  constructor({ onError, onLoaded }) {
    this.listener = { onError, onLoaded };
    this.select = byId("model");
    this.models = [];
    this.select.addEventListener("change", () => prefer({ model: this.select.value }));
  }

  get chosen() {
    return this.select.value;
  }

  /** Ask the server again. */
  async load() {
    try {
      this.models = await listModels(apiKey());
      this.show();
      this.listener.onLoaded();
    } catch (error) {
      this.show();
      this.listener.onError(error);
    }
  }

  show() {
    const bases = this.models.filter(({ parent }) => !parent);
    const adapters = this.models.filter(({ parent }) => parent);
    const options = (models) => models.map(({ id }) => element("option", { value: id, text: id }));
    if (adapters.length) {
      this.select.replaceChildren(
        element("optgroup", { label: t("models") }, ...options(bases)),
        element("optgroup", { label: t("adapters") }, ...options(adapters)),
      );
    } else {
      this.select.replaceChildren(...options(bases));
    }
    if (!this.models.length) this.select.append(element("option", { value: "", text: t("noModel") }));
    this.select.disabled = !this.models.length;
    const preferred = preferences().model;
    if (this.models.some(({ id }) => id === preferred)) this.select.value = preferred;
  }
}
