// Conversations in the browser's IndexedDB. Where it keeps nothing, they last as long as the page.

const CONVERSATIONS = "conversations";
// Titles alone: conversations hold pictures, and the list is read often.
const TITLES = "titles";

export class Store {
  /** @param {IDBDatabase | null} database */
  constructor(database) {
    this.database = database;
    this.memory = new Map();
  }

  static async open() {
    try {
      return new Store(await opened());
    } catch {
      return new Store(null);
    }
  }

  get isLasting() {
    return this.database !== null;
  }

  /** @returns {Promise<{id: string, title: string, updated: number}[]>} the latest first */
  async list() {
    const titles = this.database
      ? await result(this.database.transaction(TITLES).objectStore(TITLES).getAll())
      : [...this.memory.values()];
    return titles.sort((a, b) => b.updated - a.updated);
  }

  /** @returns {Promise<import("./conversation.js").Conversation | undefined>} */
  async get(id) {
    if (!this.database) return this.memory.get(id);
    return result(this.database.transaction(CONVERSATIONS).objectStore(CONVERSATIONS).get(id));
  }

  /** @param {import("./conversation.js").Conversation} conversation */
  async put(conversation) {
    const { id, title, updated } = conversation;
    if (!this.database) {
      this.memory.set(id, conversation);
      return;
    }
    await this.change((conversations, titles) => {
      conversations.put(conversation);
      titles.put({ id, title, updated });
    });
  }

  async delete(id) {
    this.memory.delete(id);
    await this.change((conversations, titles) => {
      conversations.delete(id);
      titles.delete(id);
    });
  }

  async clear() {
    this.memory.clear();
    await this.change((conversations, titles) => {
      conversations.clear();
      titles.clear();
    });
  }

  async change(work) {
    if (!this.database) return;
    const transaction = this.database.transaction([CONVERSATIONS, TITLES], "readwrite");
    work(transaction.objectStore(CONVERSATIONS), transaction.objectStore(TITLES));
    await new Promise((resolve, reject) => {
      transaction.addEventListener("complete", resolve);
      transaction.addEventListener("abort", () => reject(transaction.error));
    });
  }
}

function opened() {
  const request = indexedDB.open("qwenvl", 1);
  request.addEventListener("upgradeneeded", () => {
    request.result.createObjectStore(CONVERSATIONS, { keyPath: "id" });
    request.result.createObjectStore(TITLES, { keyPath: "id" });
  });
  return result(request);
}

function result(request) {
  return new Promise((resolve, reject) => {
    request.addEventListener("success", () => resolve(request.result));
    request.addEventListener("error", () => reject(request.error));
  });
}
