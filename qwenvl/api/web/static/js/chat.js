// One conversation and what happens to it. It knows no element: whoever shows it is told what has changed.
import { ApiError, streamChat } from "./api.js";
import { messagesBefore, newAnswer, newConversation, titleOf } from "./conversation.js";

/** While an answer comes it is kept every so many milliseconds, so that a page that is left loses little. */
const KEEP_EVERY = 2000;

export class Chat {
  /**
   * @param {import("./store.js").Store} store
   * @param {() => {model: string, key: string, instructions: string, sampling: Record<string, number>}} choices
   * @param {{onTurns: () => void, onAnswer: () => void, onKept: () => void, onNotKept: (error: DOMException) => void,
   *   onBusy: (busy: boolean) => void}} listener `onTurns`: turns came or went; `onAnswer`: the last turn, an answer,
   *   has changed; `onNotKept`: the browser has no room
   */
  constructor(store, choices, listener) {
    this.store = store;
    this.choices = choices;
    this.listener = listener;
    this.conversation = newConversation();
    this.abort = null;
  }

  get isBusy() {
    return this.abort !== null;
  }

  get turns() {
    return this.conversation.turns;
  }

  /** Go on with another conversation, a new one where there is none of that name. */
  async open(id) {
    this.stop();
    this.conversation = (id && (await this.store.get(id))) || newConversation();
    for (const turn of this.turns) if (turn.state === "streaming") turn.state = "stopped";
    this.listener.onTurns();
  }

  /**
   * @param {string} text
   * @param {import("./conversation.js").Picture[]} pictures
   */
  async send(text, pictures) {
    this.turns.push({ role: "user", text, pictures });
    await this.answer();
  }

  /** Answer anew what stands before the turn at `index`; what stood behind it goes. */
  async again(index) {
    this.stop();
    this.turns.length = index;
    await this.answer();
  }

  /** Replace the question at `index`, and answer it anew. */
  async edit(index, text, pictures) {
    this.stop();
    this.turns.length = index;
    await this.send(text, pictures);
  }

  /** Take nothing more of the answer; the server stops too. */
  stop() {
    this.abort?.abort();
  }

  /** Have nothing more to keep of this conversation: what is still coming is not put back where it was deleted. */
  forget() {
    this.stop();
    this.turns.length = 0;
  }

  /** Delete this conversation. */
  async clear() {
    const { id } = this.conversation;
    this.forget();
    await this.store.delete(id);
    await this.open();
    this.listener.onKept();
  }

  async answer() {
    const { model, key, instructions, sampling } = this.choices();
    const { conversation } = this;
    const turn = newAnswer(model);
    conversation.turns.push(turn);
    const abort = (this.abort = new AbortController());
    this.listener.onBusy(true);
    this.listener.onTurns();
    const messages = messagesBefore(conversation, conversation.turns.indexOf(turn), instructions);
    const request = { model, messages, grounding: { clean_text: true, unit: "permille", confidence: false }, ...sampling };
    const started = performance.now();
    await this.keep(conversation);
    let kept = started;
    try {
      for await (const chunk of streamChat(request, key, abort.signal)) {
        if (abort.signal.aborted) break;
        take(turn, chunk);
        if (this.conversation === conversation) this.listener.onAnswer();
        if (performance.now() - kept > KEEP_EVERY) {
          kept = performance.now();
          await this.keep(conversation);
        }
      }
      turn.state = abort.signal.aborted ? "stopped" : "done";
    } catch (error) {
      if (!abort.signal.aborted && !(error instanceof ApiError)) throw error;
      turn.state = abort.signal.aborted ? "stopped" : "failed";
      if (turn.state === "failed") turn.error = { message: error.message, status: error.status, code: error.code };
    } finally {
      turn.seconds = (performance.now() - started) / 1000;
      if (turn.state === "streaming") turn.state = "failed";
      // Another answer may have begun meanwhile.
      if (this.abort === abort) {
        this.abort = null;
        this.listener.onBusy(false);
      }
      if (this.conversation === conversation) this.listener.onAnswer();
      if (conversation.turns.includes(turn)) await this.keep(conversation);
    }
  }

  async keep(conversation) {
    conversation.title = titleOf(conversation);
    conversation.updated = Date.now();
    try {
      await this.store.put(conversation);
    } catch (error) {
      // Full, or forbidden meanwhile: the conversation goes on all the same.
      if (!(error instanceof DOMException)) throw error;
      this.listener.onNotKept(error);
    }
    this.listener.onKept();
  }
}

/** Add a chunk of the stream to the answer. */
function take(turn, { choices, usage }) {
  if (usage) turn.tokens = usage.completion_tokens;
  const choice = choices[0];
  if (!choice) return;
  turn.text += choice.delta.content ?? "";
  turn.findings.push(...(choice.delta.grounding ?? []));
  if (choice.finish_reason) turn.finish = choice.finish_reason;
}
