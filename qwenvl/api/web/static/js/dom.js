// Elements without HTML: text is only ever text.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element.
 * @param {string} tag
 * @param {Record<string, unknown>} [attributes] `text` is its text, `on` its listeners, `data` its data attributes;
 *   others are attributes, where false, null and undefined leave one out and true is an empty one.
 * @param {...(Node | string | null | undefined | false)} children
 */
export function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same in SVG. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(node, { text, on = {}, data = {}, ...attributes }, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value === true ? "" : value);
  }
  Object.assign(node.dataset, data);
  for (const [event, listener] of Object.entries(on)) node.addEventListener(event, listener);
  if (text !== undefined) node.textContent = text;
  node.append(...children.filter((child) => child || child === ""));
  return node;
}

/** @param {string} id */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`no #${id}`);
  return found;
}

/** Make `target`'s children those of `fragment`, and leave alone what is equal: selections and focus stay. */
export function replaceChanged(target, fragment) {
  const wanted = [...fragment.childNodes];
  wanted.forEach((node, i) => {
    const there = target.childNodes[i];
    if (!there) target.append(node);
    else if (!there.isEqualNode(node)) there.replaceWith(node);
  });
  while (target.childNodes.length > wanted.length) target.lastChild.remove();
}
