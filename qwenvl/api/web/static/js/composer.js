// Where questions are written and pictures come in.
import { byId, element } from "./dom.js";
import { fitHeight, isSendKey } from "./editor.js";
import { button } from "./figure.js";
import { t } from "./i18n.js";
import { UnreadableError, readPicture } from "./pictures.js";
import { draft, keepDraft } from "./preferences.js";

export class Composer {
  /** @param {{onSend: (text: string, pictures: import("./conversation.js").Picture[]) => void, onStop: () => void}} listener */
  constructor({ onSend, onStop }) {
    this.onSend = onSend;
    /** @type {import("./conversation.js").Picture[]} */
    this.pictures = [];
    this.isBusy = false;
    this.reading = 0;
    this.field = byId("question");
    this.note = byId("composer-note");
    this.field.value = draft();
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    this.field.addEventListener("input", () => this.changed());
    this.field.addEventListener("keydown", (event) => {
      if (!isSendKey(event)) return;
      event.preventDefault();
      this.send();
    });
    byId("stop").addEventListener("click", onStop);
    this.listenForPictures();
    this.changed();
  }

  listenForPictures() {
    const input = byId("files");
    byId("attach").addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      void this.add([...input.files]);
      // So that the same file can be picked again.
      input.value = "";
    });
    document.addEventListener("paste", (event) => {
      const files = [...(event.clipboardData?.files ?? [])];
      // Office programs put a picture beside the text that was copied.
      if (!files.length || event.clipboardData.getData("text/plain")) return;
      event.preventDefault();
      void this.add(files);
    });
    listenForDrops((files) => void this.add(files));
  }

  focus() {
    // On a phone the keyboard would cover half of the page.
    if (matchMedia("(pointer: fine)").matches) this.field.focus();
  }

  /** @param {boolean} busy an answer is coming */
  setBusy(busy) {
    this.isBusy = busy;
    byId("send").hidden = busy;
    byId("stop").hidden = !busy;
  }

  /** @param {File[]} files */
  async add(files) {
    const notes = [];
    this.reading++;
    this.changed();
    try {
      for (const file of files) {
        try {
          const { picture, was } = await readPicture(file);
          this.pictures.push(picture);
          if (was) notes.push(t("smaller", { name: file.name, ...was, to: `${picture.width} × ${picture.height}` }));
        } catch (error) {
          if (!(error instanceof UnreadableError)) throw error;
          notes.push(t("unreadable", { name: file.name }));
        }
      }
    } finally {
      // Whatever went wrong, the next question can be sent.
      this.reading--;
      this.say(notes);
      this.changed();
      this.focus();
    }
  }

  /** Take a question back, for example one that could not be sent. */
  fill(text, pictures) {
    this.field.value = text;
    this.pictures = [...pictures];
    this.changed();
  }

  send() {
    const text = this.field.value.trim();
    if (this.isBusy || this.reading || (!text && !this.pictures.length)) return;
    const { pictures } = this;
    this.fill("", []);
    this.say([]);
    this.onSend(text, pictures);
  }

  changed() {
    keepDraft(this.field.value);
    fitHeight(this.field);
    byId("send").disabled = this.reading > 0 || (!this.field.value.trim() && !this.pictures.length);
    this.showPictures();
  }

  showPictures() {
    const list = byId("attached");
    list.hidden = !this.pictures.length;
    list.replaceChildren(...this.pictures.map((picture) => this.attachment(picture)));
  }

  attachment(picture) {
    const remove = button("close", t("remove", { name: picture.name }), () => {
      this.pictures = this.pictures.filter((other) => other !== picture);
      this.changed();
      this.focus();
    });
    return element("li", {}, element("img", { src: picture.url, alt: picture.name }), remove);
  }

  say(notes) {
    this.note.hidden = !notes.length;
    this.note.textContent = notes.join(" ");
  }
}

/** Files may be dropped anywhere on the page. */
function listenForDrops(onFiles) {
  const listen = (kind, isOpen) =>
    document.addEventListener(kind, (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      // Going from one element to another is no leaving: only out of the window there is nothing that comes next.
      if (kind === "dragleave" && event.relatedTarget) return;
      byId("drop-zone").classList.toggle("open", isOpen);
      if (kind === "drop") onFiles([...event.dataTransfer.files]);
    });
  listen("dragenter", true);
  listen("dragover", true);
  listen("dragleave", false);
  listen("drop", false);
}
