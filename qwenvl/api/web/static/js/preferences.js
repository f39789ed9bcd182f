// What the user chose, in this browser. The API key stays for the tab, unless it is to be remembered.

const PLACE = "qwenvl.preferences";
const KEY_PLACE = "qwenvl.key";

/** @typedef {{language?: string, theme?: string, model?: string, instructions?: string,
 *   sampling?: Record<string, number>}} Preferences */

/** @returns {Preferences} */
export function preferences() {
  try {
    const read = JSON.parse(localStorage.getItem(PLACE) ?? "{}");
    return read && typeof read === "object" ? read : {};
  } catch {
    return {};
  }
}

/** @param {Partial<Preferences>} changed */
export function prefer(changed) {
  keep(localStorageOf, PLACE, JSON.stringify({ ...preferences(), ...changed }));
}

export function apiKey() {
  return read(sessionStorageOf, KEY_PLACE) ?? read(localStorageOf, KEY_PLACE) ?? "";
}

export function isKeyRemembered() {
  return read(localStorageOf, KEY_PLACE) !== null;
}

/**
 * @param {string} key empty for none
 * @param {boolean} remember beyond this tab
 */
export function keepApiKey(key, remember) {
  keep(sessionStorageOf, KEY_PLACE, key && !remember ? key : null);
  keep(localStorageOf, KEY_PLACE, key && remember ? key : null);
}

const DRAFT_PLACE = "qwenvl.draft";

/** What was typed and not sent, so that a reload loses none of it. */
export function draft() {
  return read(sessionStorageOf, DRAFT_PLACE) ?? "";
}

/** @param {string} text */
export function keepDraft(text) {
  keep(sessionStorageOf, DRAFT_PLACE, text || null);
}

const localStorageOf = () => localStorage;
const sessionStorageOf = () => sessionStorage;

// Reading the property throws where a browser allows no storage.
function read(storageOf, place) {
  try {
    return storageOf().getItem(place);
  } catch {
    return null;
  }
}

function keep(storageOf, place, value) {
  try {
    if (value === null) storageOf().removeItem(place);
    else storageOf().setItem(place, value);
  } catch {
    // Full or forbidden: the choice holds until the page is left, for whoever asks has it in hand.
  }
}
