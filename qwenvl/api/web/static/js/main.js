// The page: makes its parts and tells them of each other.
import { Announcer } from "./announcer.js";
import { placeAppearance } from "./appearance.js";
import { Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { confirmed } from "./confirm.js";
import { byId } from "./dom.js";
import { showExamples } from "./examples.js";
import { t } from "./i18n.js";
import { placeIcons } from "./icons.js";
import { Models } from "./models.js";
import { apiKey, preferences } from "./preferences.js";
import { Scrolling } from "./scrolling.js";
import { SettingsSheet } from "./settings.js";
import { Sidebar } from "./sidebar.js";
import { Store } from "./store.js";
import { AnswerView, UserView } from "./turns.js";

placeIcons();
placeAppearance(showAll);

const store = await Store.open();
const scrolling = new Scrolling();
const announcer = new Announcer();
/** @type {(UserView | AnswerView)[]} */
let views = [];
let isDrawing = false;

const settings = new SettingsSheet({ onKey: () => models.load() });
const models = new Models({
  onError: (error) => notify(error.status === 401 ? t("keyWanted") : error.message, error.status === 401),
  onLoaded: () => notify(""),
});
const chat = new Chat(store, choices, {
  onTurns: showTurns,
  onAnswer: answerChanged,
  onKept: () => sidebar.show(chat.conversation.id),
  onNotKept: (error) => notify(t("full", { reason: error.message || error.name })),
  onBusy: (busy) => {
    composer.setBusy(busy);
    if (busy) announcer.say(t("answering"));
  },
});
const composer = new Composer({
  onSend: (text, pictures) => {
    scrolling.toEnd();
    void chat.send(text, pictures);
  },
  onStop: () => chat.stop(),
});
const sidebar = new Sidebar(store, {
  onNew: () => open(),
  onOpen: open,
  onDelete: async (id) => {
    if (id === chat.conversation.id) {
      await chat.clear();
    } else {
      await store.delete(id);
      await sidebar.show(chat.conversation.id);
    }
  },
  onClearAll: async () => {
    chat.forget();
    await store.clear();
    await open();
  },
});
const actions = {
  again: (index) => chat.again(index),
  edit: (index, text, pictures) => chat.edit(index, text, pictures),
  enterKey: () => settings.open(true),
};

byId("clear").addEventListener("click", async () => {
  if (chat.turns.length && (await confirmed(t("clearChatSure"), t("delete")))) await chat.clear();
  composer.focus();
});
document.addEventListener("keydown", (event) => {
  // An input method has Escape for itself.
  if (event.key === "Escape" && !event.isComposing && chat.isBusy && !document.querySelector("dialog[open]")) chat.stop();
});

showAll();
await models.load();
if (!store.isLasting) notify(t("notKept"));
composer.focus();
document.documentElement.dataset.ready = "true";

function choices() {
  const { instructions = "", sampling = {} } = preferences();
  return { model: models.chosen, key: apiKey(), instructions, sampling };
}

async function open(id) {
  await chat.open(id);
  await sidebar.show(chat.conversation.id);
  scrolling.toEnd();
  composer.focus();
}

/** Everything that scripts write, in the language that is chosen now. */
function showAll() {
  models.show();
  showExamples((text, pictures) => {
    if (!chat.isBusy) void chat.send(text, pictures);
  });
  showTurns();
  composer.changed();
  void sidebar.show(chat.conversation.id);
}

function showTurns() {
  const { conversation } = chat;
  views = conversation.turns.map((turn, i) =>
    turn.role === "user" ? new UserView(turn, i, actions) : new AnswerView(conversation, i, actions),
  );
  byId("turns").replaceChildren(...views.map((view) => view.element));
  document.body.classList.toggle("is-empty", !views.length);
  byId("welcome").hidden = views.length > 0;
  byId("clear").disabled = !views.length;
  if (!views.length) byId("scroll").scrollTop = 0;
  scrolling.follow();
}

/** Show what has come of the answer, at most once in a frame. */
function answerChanged() {
  if (isDrawing) return;
  isDrawing = true;
  requestAnimationFrame(() => {
    isDrawing = false;
    const view = views[views.length - 1];
    if (!(view instanceof AnswerView)) return;
    view.update();
    announcer.follow(view.turn.text, view.turn.state !== "streaming");
    scrolling.follow();
  });
}

/** @param {string} text empty for none */
function notify(text, isAboutKey = false) {
  const notice = byId("notice");
  notice.hidden = !text;
  notice.replaceChildren(text);
  if (!isAboutKey) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button";
  button.textContent = t("enterKey");
  button.addEventListener("click", () => settings.open(true));
  notice.append(" ", button);
}
