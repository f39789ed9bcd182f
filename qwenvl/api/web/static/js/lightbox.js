import { byId, element } from "./dom.js";
import { Figure, button, lightTogether } from "./figure.js";
import { t } from "./i18n.js";

/**
 * Show a picture as large as the window allows.
 * @param {import("./conversation.js").Picture} picture
 * @param {import("./figure.js").Found[]} found what is boxed in it
 */
export function enlarge(picture, found = []) {
  const dialog = byId("lightbox");
  const close = button("close", t("close"), () => dialog.close());
  close.classList.add("lightbox-close");
  if (found.length) {
    const figure = new Figure(picture, { label: t("picture") });
    figure.update(found);
    lightTogether(figure.element);
    dialog.replaceChildren(figure.element, close);
  } else {
    dialog.replaceChildren(element("img", { src: picture.url, alt: picture.name }), close);
  }
  dialog.onclick = (event) => event.target === dialog && dialog.close();
  dialog.showModal();
}
