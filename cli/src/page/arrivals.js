// What arrives, live: a line for each callback, newest first.

import { text } from "/api.js";
import { byId, clock, element, groupAddress, number, outside, say } from "/element.js";

const SHOWN_MAX = 500;
const SAID_EVERY_MS = 3000;

const OUTCOMES = {
  stored: "good", replaced: "good", forwarded: "good",
  queued: "late",
  rejected: "bad", lost: "bad", undecided: "bad", failed: "bad",
};

/** One callback, with a link to its group where that is not what is shown. Its body is read when it is unfolded. */
export function line(arrival, isOfShownGroup = false) {
  const body = element("pre", { class: "body", hidden: true, tabindex: 0 });
  const button = element("button", { type: "button", class: "unfold", "aria-expanded": "false" },
    element("span", { class: "when" }, clock(Date.parse(arrival.timestamp))),
    element("span", { class: "command" }, outside(name(arrival.callback_command))),
    element("span", { class: "took" }, `${number(arrival.duration_ms)} ms`));
  button.addEventListener("click", () => unfold(arrival, button, body));
  const why = arrival.error_info ?? arrival.error;
  const code = arrival.error_code ? `ErrorCode ${arrival.error_code}: ` : "";
  const made = element("li", {},
    button,
    element("p", { class: "of" },
      element("span", { class: `badge outcome ${OUTCOMES[arrival.outcome] ?? ""}` }, outside(arrival.outcome)),
      !isOfShownGroup && arrival.group_id && element("a", { href: groupAddress(arrival.group_id) }, outside(arrival.group_id))),
    why && element("p", { class: "why" }, code, outside(why)),
    body);
  made.dataset.id = arrival.id;
  return made;
}

/** The part of a command that tells it from the others. */
const name = (command) => (command ?? "no command").replace(/^Group\.Callback/, "");

async function unfold(arrival, button, body) {
  const open = button.getAttribute("aria-expanded") !== "true";
  button.setAttribute("aria-expanded", open);
  body.hidden = !open;
  if (!open || body.textContent) return;
  try {
    const said = await text(`/api/arrivals/${arrival.id}`);
    body.textContent = pretty(said) || "(an empty body)";
  } catch (error) {
    body.textContent = error.message;
  }
}

function pretty(said) {
  try {
    return JSON.stringify(JSON.parse(said), null, 2);
  } catch {
    return said;
  }
}

export class Arrivals {
  /** `arrived(groupId)` hears of every group that something came for, `told()` of new changes in the history. */
  constructor(arrived, told) {
    this.arrived = arrived;
    this.lines = byId("arrivals-lines");
    this.count = 0;
    this.unsaid = 0;
    // What came before this page was opened is in the table already.
    this.opened = performance.timeOrigin;
    const source = new EventSource("/api/live");
    source.addEventListener("open", () => this.connection(true));
    source.addEventListener("error", () => this.connection(false));
    source.addEventListener("told", told);
    source.addEventListener("message", (event) => this.add(JSON.parse(event.data)));
  }

  add(arrival) {
    this.lines.prepend(line(arrival));
    if (this.lines.childElementCount > SHOWN_MAX) this.lines.lastElementChild.remove();
    this.count += 1;
    byId("arrivals-count").textContent = number(this.count);
    byId("arrivals-none").hidden = true;
    if (Date.parse(arrival.timestamp) < this.opened) return;
    this.say();
    if (arrival.group_id) this.arrived(arrival.group_id);
  }

  /** Tells a screen reader how many came, not each of them. */
  say() {
    this.unsaid += 1;
    this.saying ??= setTimeout(() => {
      byId("arrivals-said").textContent = this.unsaid === 1 ? "A callback arrived." : `${this.unsaid} callbacks arrived.`;
      this.unsaid = 0;
      this.saying = null;
    }, SAID_EVERY_MS);
  }

  connection(isOpen) {
    const place = byId("connection");
    say(place, isOpen ? "Live" : "No connection; trying again");
    place.classList.toggle("open", isOpen);
  }
}
