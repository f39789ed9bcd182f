import { byId } from "./dom.js";

const SENTENCE_ENDS = /[.!?。！？…\n]/g;

/** Reads an answer to who listens: sentence by sentence, since every token would start the reading anew. */
export class Announcer {
  constructor() {
    this.live = byId("live");
    this.said = 0;
  }

  /** @param {string} text said at once */
  say(text) {
    this.said = 0;
    this.live.textContent = text;
  }

  /**
   * @param {string} text of the answer so far
   * @param {boolean} isWhole no more of it comes
   */
  follow(text, isWhole) {
    const ends = [...text.slice(this.said).matchAll(SENTENCE_ENDS)];
    const end = isWhole ? text.length : this.said + (ends.length ? ends[ends.length - 1].index + 1 : 0);
    if (end <= this.said) return;
    this.live.textContent = text.slice(this.said, end);
    this.said = end;
  }
}
