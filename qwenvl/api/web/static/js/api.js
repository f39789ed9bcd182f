import { t } from "./i18n.js";
import { events } from "./sse.js";

/** An error object of the API, or what kept it from coming. */
export class ApiError extends Error {
  /** @param {{status?: number, code?: string | null}} [about] */
  constructor(message, { status = 0, code = null } = {}) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/**
 * The models that are served.
 * @returns {Promise<{id: string, parent: string | null}[]>}
 */
export async function listModels(key) {
  const response = await ask("v1/models", { headers: headers(key) });
  return (await response.json()).data;
}

/**
 * A chat completion's chunks.
 * @param {object} request the body, without `stream`
 * @param {AbortSignal} signal ends the request, and the answer on the server
 */
export async function* streamChat(request, key, signal) {
  const response = await ask("v1/chat/completions", {
    method: "POST",
    headers: { ...headers(key), "Content-Type": "application/json" },
    body: JSON.stringify({ ...request, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  try {
    for await (const data of events(response.body)) {
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new ApiError(chunk.error.message, { code: chunk.error.code });
      yield chunk;
    }
  } catch (error) {
    if (error instanceof ApiError || signal.aborted) throw error;
    throw new ApiError(t("brokeOff"));
  }
  throw new ApiError(t("brokeOff"));
}

function headers(key) {
  return key ? { Authorization: `Bearer ${key}` } : {};
}

async function ask(path, options) {
  let response;
  try {
    // Relative to the page, which may lie below a proxy's path.
    response = await fetch(new URL(path, document.baseURI), { ...options, cache: "no-store", credentials: "same-origin" });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError(t("unreachable"));
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const { status } = response;
  const body = await response.json().catch(() => null);
  if (typeof body?.error?.message !== "string") return new ApiError(t("badAnswer", { status }), { status });
  return new ApiError(body.error.message, { status, code: body.error.code });
}
