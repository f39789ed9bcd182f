// Conversations as data: what is kept, and what is asked of the server.
import { withTags } from "./phrases.js";

/**
 * @typedef {{url: string, width: number, height: number, name: string}} Picture `url` is a data URL
 * @typedef {{role: "user", text: string, pictures: Picture[]}} UserTurn
 * @typedef {{role: "assistant", text: string, findings: import("./phrases.js").Finding[], model: string,
 *   state: "streaming" | "done" | "stopped" | "failed", finish?: string,
 *   error?: {message: string, status: number, code: string | null}, tokens?: number, seconds?: number}} AssistantTurn
 * @typedef {{id: string, title: string, updated: number, turns: (UserTurn | AssistantTurn)[]}} Conversation
 */

const TITLE_LENGTH = 60;

/** @returns {Conversation} */
export function newConversation() {
  return { id: newId(), title: "", updated: Date.now(), turns: [] };
}

/** @returns {AssistantTurn} */
export function newAnswer(model) {
  return { role: "assistant", text: "", findings: [], model, state: "streaming" };
}

/** The first words of a conversation; empty where there are none. */
export function titleOf({ turns }) {
  const first = turns.find((turn) => turn.role === "user" && turn.text.trim());
  const characters = [...(first?.text.trim().replace(/\s+/g, " ") ?? "")];
  return characters.length > TITLE_LENGTH ? `${characters.slice(0, TITLE_LENGTH - 1).join("")}…` : characters.join("");
}

/**
 * The pictures that the answer at `index` could speak of, in the order in which the server counts them.
 * @param {Conversation} conversation
 * @returns {Picture[]}
 */
export function picturesBefore({ turns }, index) {
  return turns.slice(0, index).flatMap((turn) => (turn.role === "user" ? turn.pictures : []));
}

/**
 * The messages that ask for the answer at `index`.
 * @param {Conversation} conversation
 * @param {string} instructions the system message; empty for none
 */
export function messagesBefore({ turns }, index, instructions) {
  const messages = instructions ? [{ role: "system", content: instructions }] : [];
  for (const turn of turns.slice(0, index)) {
    if (turn.role === "user") messages.push({ role: "user", content: contentOf(turn) });
    // An answer of nothing but boxes has no text that is shown.
    else if (turn.text || turn.findings?.length) {
      messages.push({ role: "assistant", content: withTags(turn.text, turn.findings) });
    }
  }
  return messages;
}

/** @param {UserTurn} turn */
function contentOf({ text, pictures }) {
  const parts = pictures.map(({ url }) => ({ type: "image_url", image_url: { url } }));
  return text ? [...parts, { type: "text", text }] : parts;
}

// crypto.randomUUID is there for secure contexts alone, and a server at home is none.
function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
