import { byId } from "./dom.js";

/** As near to the end as counts as being there, in CSS pixels. */
const NEAR = 80;

/** Keeps the end in sight while an answer grows, unless the reader has scrolled up. */
export class Scrolling {
  constructor() {
    this.box = byId("scroll");
    this.follows = true;
    this.box.addEventListener("scroll", () => {
      this.follows = this.box.scrollHeight - this.box.scrollTop - this.box.clientHeight < NEAR;
      byId("to-end").hidden = this.follows;
    }, { passive: true });
    byId("to-end").addEventListener("click", () => this.toEnd());
    // Pictures and boxes that come after the text make it longer too.
    new ResizeObserver(() => this.follow()).observe(byId("turns"));
  }

  follow() {
    // Before there is a conversation, the page begins at its beginning.
    if (this.follows && byId("turns").childElementCount) this.box.scrollTop = this.box.scrollHeight;
  }

  toEnd() {
    this.follows = true;
    this.follow();
  }
}
