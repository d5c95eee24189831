// The history of a group or of an account: a sentence for each change, newest first.

import { ask, coalesced } from "/api.js";
import { accountLink, element, groupLink, moment, outside, say } from "/element.js";

const CUSTOM = "user_defined.";

/** A change. The words are the program's own, those of `chat-groups why` too. */
function line(change, isOfAccount) {
  const subject = isOfAccount ? groupLink(change.group_id) : change.account && accountLink(change.account);
  return element("li", { class: change.type?.split(".")[1], "data-id": change.id, "data-order": change.order },
    element("p", {},
      subject && element("span", { class: "of" }, subject, " "),
      element("span", { class: "words" }, outside(change.words)),
      change.by && " by ", change.by && accountLink(change.by),
      element("span", { class: "when" }, " on ", moment(change.at))),
    change.changed && element("dl", { class: "values" }, ...change.changed.flatMap((name) => [
      element("dt", {}, outside(name)),
      element("dd", {}, value(change.before, name), " → ", value(change.after, name, change.omitted)),
    ])));
}

function value(image, name, omitted = []) {
  const isCustom = name.startsWith(CUSTOM);
  const found = isCustom ? image?.user_defined?.[name.slice(CUSTOM.length)] : image?.[name];
  if (found !== undefined) return outside(String(found));
  return element("span", { class: "none" }, omitted.includes(name) ? "too long to be kept" : "none");
}

export class History {
  constructor(place, about, isOfAccount = false) {
    Object.assign(this, { place, about, isOfAccount });
    const title = element("h2", { id: `${place.id}-title` }, "History");
    this.trouble = element("p", { class: "trouble", role: "alert", hidden: true });
    this.none = element("p", { class: "status" });
    this.list = element("ol", { class: "changes", "aria-labelledby": title.id });
    this.older = element("button", { type: "button", class: "quiet", hidden: true, click: () => this.readOlder() }, "Older changes");
    place.replaceChildren(title, this.trouble, this.none, this.list, this.older);
    this.refresh = coalesced(() => this.readNewest());
  }

  /** Shows the history of `{group_id}` or `{account}`. */
  async open(of) {
    this.place.hidden = !this.about.has_history;
    if (JSON.stringify(of) !== JSON.stringify(this.of)) this.clear();
    this.of = of;
    await this.refresh();
  }

  close() {
    this.of = null;
  }

  clear() {
    this.list.replaceChildren();
    this.older.hidden = true;
    say(this.none, null);
  }

  /** Adds whatever is new. If that is more than a page, the list begins anew. */
  async readNewest() {
    const page = await this.read();
    if (!page) return;
    const ids = new Set([...this.list.children].map((shown) => shown.dataset.id));
    if (!page.changes.some(({ id }) => ids.has(id))) {
      this.clear();
      this.goOn(page);
    }
    this.add(page.changes.filter(({ id }) => !ids.has(id)));
    say(this.none, this.list.childElementCount === 0 ? page.nothing : null);
  }

  async readOlder() {
    const page = await this.read({ next: this.next });
    if (!page) return;
    this.goOn(page);
    this.add(page.changes);
  }

  goOn({ next }) {
    this.next = next;
    this.older.hidden = !next;
  }

  /** A page of the history that is open, or nothing. */
  async read(parameters = {}) {
    const { of } = this;
    if (!of || !this.about.has_history) return null;
    try {
      const page = await ask("/api/history", { ...of, ...parameters });
      say(this.trouble, null);
      return of === this.of ? page : null;
    } catch (error) {
      say(this.trouble, error.message);
      return null;
    }
  }

  /** A late change goes where it belongs. */
  add(changes) {
    for (const change of changes) {
      const next = [...this.list.children].find((shown) => shown.dataset.order < change.order);
      this.list.insertBefore(line(change, this.isOfAccount), next ?? null);
    }
  }
}
