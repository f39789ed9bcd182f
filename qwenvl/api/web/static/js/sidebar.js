import { confirmed } from "./confirm.js";
import { byId, element } from "./dom.js";
import { button } from "./figure.js";
import { t } from "./i18n.js";

/** The list of conversations; on narrow screens a drawer. */
export class Sidebar {
  /**
   * @param {import("./store.js").Store} store
   * @param {{onNew: () => void, onOpen: (id: string) => void, onDelete: (id: string) => void, onClearAll: () => void}} listener
   */
  constructor(store, listener) {
    this.store = store;
    this.listener = listener;
    this.current = "";
    byId("new-chat").addEventListener("click", () => {
      this.close();
      listener.onNew();
    });
    byId("clear-all").addEventListener("click", async () => {
      if (await confirmed(t("clearAllSure"), t("clearAll"))) listener.onClearAll();
    });
    byId("open-sidebar").addEventListener("click", () => this.open());
    byId("close-sidebar").addEventListener("click", () => this.close());
    byId("shade").addEventListener("click", () => this.close());
    byId("sidebar").addEventListener("keydown", (event) => event.key === "Escape" && this.close());
  }

  open() {
    document.body.classList.add("sidebar-open");
    byId("open-sidebar").setAttribute("aria-expanded", "true");
    byId("new-chat").focus();
  }

  close() {
    if (!document.body.classList.contains("sidebar-open")) return;
    document.body.classList.remove("sidebar-open");
    byId("open-sidebar").setAttribute("aria-expanded", "false");
    byId("open-sidebar").focus();
  }

  /** @param {string} current id of the conversation that is shown */
  async show(current) {
    this.current = current;
    const conversations = await this.store.list();
    const today = new Date().setHours(0, 0, 0, 0);
    const items = [];
    let group;
    for (const conversation of conversations) {
      const its = conversation.updated >= today ? t("today") : t("earlier");
      if (its !== group) items.push(element("li", { class: "group", text: its }));
      group = its;
      items.push(this.item(conversation));
    }
    byId("conversations").replaceChildren(...items);
    byId("clear-all").hidden = !conversations.length;
  }

  item({ id, title }) {
    const name = title || t("picture");
    const open = element("button", {
      type: "button",
      class: "conversation",
      text: name,
      title: name,
      dir: "auto",
      "aria-current": id === this.current ? "true" : null,
      on: {
        click: () => {
          this.close();
          this.listener.onOpen(id);
        },
      },
    });
    return element("li", {}, open, button("trash", t("deleteChat", { title: name }), () => this.listener.onDelete(id)));
  }
}
