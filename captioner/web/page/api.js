// The server's API, as programs use it too.

const RETRIES = 8; // of a photo, while the server is busy
const LOADING = 2; // seconds between looks at a model that is being loaded

export class ServerError extends Error {}

/** What is served, and within which limits; `loading` is called with its task, if that is known,
 * while it isn't ready. */
export async function about(loading) {
  for (;;) {
    const answer = await request("api/model");
    if (answer.ok) return answer.json();
    if (answer.status !== 503) throw new ServerError(await reason(answer));
    const { task } = await answer.json().catch(() => ({}));
    loading(task);
    await pause(LOADING);
  }
}

/**
 * Captions a file with attention maps; a busy server is asked again after the time it names.
 *
 * Where no caption is sure enough there are none, and `left_out` says how sure the surest was.
 *
 * Throws a ServerError with the server's reason, or an AbortError after `signal`.
 */
export async function caption(file, wish, signal) {
  const form = new FormData();
  form.append("image", file, "photo");
  form.append("prompt", wish.prompt);
  form.append("captions", wish.captions);
  form.append("attention", "1");
  return patiently("api/caption", { method: "POST", body: form, signal });
}

/** The photos nearest to a sentence or a file, as `caption` asks. */
export async function search(example, count, signal) {
  if (typeof example === "string") {
    const body = JSON.stringify({ text: example, count: Number(count) });
    const headers = { "content-type": "application/json" };
    return patiently("api/search", { method: "POST", body, headers, signal });
  }
  const form = new FormData();
  form.append("image", example, "photo");
  form.append("count", count);
  return patiently("api/search", { method: "POST", body: form, signal });
}

async function patiently(path, options) {
  for (let left = RETRIES; ; left--) {
    const answer = await request(path, options);
    if (answer.ok) return answer.json();
    if (answer.status !== 503 || left === 0) throw new ServerError(await reason(answer));
    await pause(Number(answer.headers.get("retry-after")) || 1, options.signal);
  }
}

async function request(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("the server can’t be reached; is it still running?");
  }
}

async function reason(answer) {
  try {
    return (await answer.json()).error;
  } catch {
    return `the server answered ${answer.status}`;
  }
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
