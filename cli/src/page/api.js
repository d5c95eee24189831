// The page's own JSON interface.

/** An error whose message is made to be read. */
export class Trouble extends Error {}

export async function ask(path, parameters = {}, options = {}) {
  const query = new URLSearchParams(parameters).toString();
  return (await answer(query ? `${path}?${query}` : path, options)).json();
}

export async function text(path) {
  return (await answer(path)).text();
}

export async function post(path, value) {
  const headers = { "Content-Type": "application/json" };
  return (await answer(path, { method: "POST", headers, body: JSON.stringify(value) })).json();
}

/** The lines of a long answer, as they come. */
export async function* lines(path, signal) {
  const reader = (await answer(path, { signal })).body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const complete = (pending + value).split("\n");
    pending = complete.pop();
    for (const line of complete) {
      const read = JSON.parse(line);
      if (read.error) throw new Trouble(read.error.message);
      yield read;
    }
  }
}

/** Runs `read`, and once more for all calls that come while it runs. */
export function coalesced(read) {
  let [isRunning, isAsked] = [false, false];
  return async () => {
    isAsked = true;
    if (isRunning) return;
    isRunning = true;
    while (isAsked) {
      isAsked = false;
      await read();
    }
    isRunning = false;
  };
}

async function answer(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble("The program behind this page does not answer. Is it still running?");
  }
  if (response.ok) return response;
  const said = await response.text();
  let message = said;
  try {
    message = JSON.parse(said).error.message;
  } catch {
    // Not from the table: the status says enough.
  }
  throw new Trouble(message || `The page's program answered ${response.status}.`);
}
