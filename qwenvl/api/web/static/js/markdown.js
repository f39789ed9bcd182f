// Markdown to DOM nodes. The parser only reads: nothing it says becomes HTML, and no picture of an answer is fetched.
import MarkdownIt from "../vendor/markdown-it/markdown-it.mjs";
import { element } from "./dom.js";
import { marked, pieces, unmarked } from "./phrases.js";

const parser = new MarkdownIt({ html: false, linkify: true, breaks: true });
// Full addresses only: "e.g.this" is no link.
parser.linkify.set({ fuzzyLink: false, fuzzyEmail: false, fuzzyIP: false });

/** Tags that the parser may ask for, and what they become: the page's own headings come before an answer's. */
const TAGS = {
  h1: "h3", h2: "h3", h3: "h4", h4: "h4", h5: "h5", h6: "h5",
  p: "p", ul: "ul", ol: "ol", li: "li", blockquote: "blockquote", em: "em", strong: "strong", s: "s",
  table: "table", thead: "thead", tbody: "tbody", tr: "tr", th: "th", td: "td",
};
const LINKS = ["http:", "https:", "mailto:"];

/**
 * An answer as nodes.
 * @param {string} text
 * @param {import("./phrases.js").Finding[]} findings whose phrases become `mark` elements
 * @param {(index: number, empty: boolean) => HTMLElement} markOf makes a finding's element; `empty` where it has no
 *   phrase in the text
 */
export function render(text, findings, markOf) {
  const writer = new Writer(markOf);
  writer.write(parser.parse(marked(text, findings), {}));
  return writer.root;
}

class Writer {
  constructor(markOf) {
    this.root = document.createDocumentFragment();
    this.parents = [this.root];
    this.markOf = markOf;
    this.phrase = null;
  }

  write(tokens) {
    for (const token of tokens) {
      if (token.nesting === 1) this.open(token);
      else if (token.nesting === -1) this.parents.pop();
      else this.leaf(token);
    }
  }

  get parent() {
    return this.parents[this.parents.length - 1];
  }

  open(token) {
    // Paragraphs of a tight list have no element of their own.
    const node = token.hidden ? null : token.type === "link_open" ? link(token) : block(token);
    if (node) this.parent.append(node);
    this.parents.push(node ?? this.parent);
  }

  leaf(token) {
    switch (token.type) {
      case "inline":
        this.write(token.children);
        // An end that was lost in an address must not run on into the next paragraph.
        this.phrase = null;
        break;
      case "softbreak":
      case "hardbreak":
        this.parent.append(element("br"));
        break;
      case "hr":
        this.parent.append(element("hr"));
        break;
      case "code_inline":
        this.inside(element("code"), token.content);
        break;
      case "fence":
      case "code_block": {
        const code = element("code");
        this.parent.append(element("pre", { tabindex: "0" }, code));
        this.textInto(code, token.content);
        break;
      }
      case "image":
        this.write(token.children);
        break;
      default:
        this.textInto(this.parent, token.content);
    }
  }

  inside(node, text) {
    this.parent.append(node);
    this.textInto(node, text);
  }

  /** Text, and the marks in it. A phrase may go on in the next token: `a **red** circle` is three. */
  textInto(parent, text) {
    for (const piece of pieces(text)) {
      if (piece.open !== undefined) {
        this.phrase = { index: piece.open, empty: true };
      } else if (piece.close) {
        if (this.phrase?.empty) parent.append(this.markOf(this.phrase.index, true));
        this.phrase = null;
      } else if (this.phrase) {
        this.phrase.empty = false;
        const mark = this.markOf(this.phrase.index, false);
        mark.append(piece.text);
        parent.append(mark);
      } else {
        parent.append(piece.text);
      }
    }
  }
}

function block(token) {
  const node = element(TAGS[token.tag] ?? "span");
  const start = token.attrGet("start");
  if (token.tag === "ol" && start) node.setAttribute("start", start);
  const align = /^text-align:(left|center|right)$/.exec(token.attrGet("style") ?? "");
  if (align) node.classList.add(`to-${align[1]}`);
  return node;
}

function link(token) {
  const address = unmarked(decodeMarks(token.attrGet("href") ?? ""));
  let url;
  try {
    url = new URL(address);
  } catch {
    return element("span");
  }
  if (!LINKS.includes(url.protocol)) return element("span");
  return element("a", { href: url.href, rel: "noopener noreferrer", target: "_blank" });
}

// The parser percent-encodes marks that stand in an address.
function decodeMarks(address) {
  return address.replace(/%E[EF]%[89AB][0-9A-F]%[89AB][0-9A-F]/gi, (encoded) => {
    const character = decodeURIComponent(encoded);
    return /[\uE000-\uF8FF]/.test(character) ? character : encoded;
  });
}
