import { byId, element } from "./dom.js";
import { t } from "./i18n.js";
import { readPicture } from "./pictures.js";

/** Drawn by scripts/web_examples.py, each with its question. */
const EXAMPLES = ["shapes", "night", "sign", "cross"];

/** @param {(text: string, pictures: import("./conversation.js").Picture[]) => void} onChosen */
export function showExamples(onChosen) {
  byId("examples").replaceChildren(...EXAMPLES.map((name) => element("li", {}, card(name, onChosen))));
}

function card(name, onChosen) {
  const address = new URL(`../examples/${name}.png`, import.meta.url).href;
  const question = t(`example_${name}`);
  const choose = async () => {
    const content = await (await fetch(address)).blob();
    const { picture } = await readPicture(new File([content], `${name}.png`, { type: "image/png" }));
    onChosen(question, [picture]);
  };
  return element(
    "button",
    { type: "button", class: "example", on: { click: choose } },
    element("img", { src: address, alt: "", width: "448", height: "448" }),
    element("span", { text: question }),
  );
}
