// The list of groups, and the search in it.

import { ask, lines, Trouble } from "/api.js";
import { accountAddress, byId, dayAndTime, element, groupAddress, number, outside, say } from "/element.js";
import { byNumber, byText, Rows } from "/rows.js";

const LOOK_UP_AFTER_MS = 250;

const changed = (row) => row.changed ?? row.created;

const COLUMNS = [
  { name: "group", label: "Group", compare: byText((row) => row.name || row.group_id) },
  { name: "type", label: "Type", compare: byText((row) => row.type) },
  { name: "owner", label: "Owner", compare: byText((row) => row.owner) },
  { name: "members", label: "Members", number: true, compare: byNumber((row) => row.members) },
  { name: "created", label: "Created", number: true, compare: byNumber((row) => row.created) },
  { name: "changed", label: "Changed", number: true, compare: byNumber(changed) },
];

const none = () => element("span", { class: "none" }, "–");

function draw(row) {
  const name = element("a", { href: groupAddress(row.group_id), class: "name", "data-stop": true },
    outside(row.name || row.group_id));
  const found = row.state === "there" ? row.found : row.state;
  return [
    [name, element("span", { class: "under" },
      element("span", { class: "id" }, outside(row.group_id)), found && element("span", { class: "badge" }, found))],
    row.type ? outside(row.type) : none(),
    row.owner ? outside(row.owner) : none(),
    row.members == null ? none() : number(row.members),
    dayAndTime(row.created),
    dayAndTime(changed(row)),
  ];
}

export class Groups {
  constructor(about) {
    this.about = about;
    this.all = new Map();
    this.found = null;
    this.stale = new Set();
    this.fresh = new Set();
    this.rows = new Rows(byId("groups-rows"), {
      label: "Groups", columns: COLUMNS, draw, key: (row) => row.group_id, sort: { by: "changed", down: true },
    });
    byId("search").addEventListener("submit", (event) => {
      event.preventDefault();
      this.lookUp();
    });
    byId("search-text").addEventListener("input", () => this.type());
    byId("reload").addEventListener("click", () => this.list());
    byId("listing-start").addEventListener("click", () => this.list());
    byId("listing-stop").addEventListener("click", () => this.listing?.abort());
    this.offer();
  }

  /** Locally the list is free; a deployed table is read only when the operator says so. */
  offer() {
    if (this.about.mode === "run") {
      this.list();
      return;
    }
    byId("listing").hidden = false;
    byId("listing-cost").textContent = cost(this.about.size);
    this.tell();
  }

  get text() {
    return byId("search-text").value.trim();
  }

  /** Searches for `text`, as an address asks for it. */
  search(text) {
    if (text === this.text) return;
    byId("search-text").value = text;
    this.found = null;
    this.show();
    this.lookUp();
  }

  type() {
    history.replaceState(null, "", this.text ? `#/search/${encodeURIComponent(this.text)}` : "#/");
    this.found = null;
    this.show();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.lookUp(), LOOK_UP_AFTER_MS);
  }

  /** Asks the table: for a GroupId that is not in the list, and for the groups of an account. */
  async lookUp() {
    clearTimeout(this.timer);
    const text = this.text;
    if (!text) return;
    try {
      const found = await ask("/api/search", { text });
      if (text !== this.text) return;
      this.found = found;
      this.trouble(null);
    } catch (error) {
      this.trouble(error);
    }
    this.show();
  }

  async list() {
    this.listing?.abort();
    const listing = new AbortController();
    this.listing = listing;
    this.all.clear();
    this.fresh.clear();
    this.read = null;
    this.buttons(true);
    this.trouble(null);
    try {
      for await (const read of lines("/api/groups", listing.signal)) {
        // What was read again meanwhile is newer than this page of the Scan may be.
        const rows = read.rows.filter((row) => !this.fresh.has(row.group_id));
        for (const row of rows) this.all.set(row.group_id, searchable(row));
        this.read = read;
        this.show();
      }
    } catch (error) {
      if (error instanceof Trouble) this.trouble(error);
      else if (error.name !== "AbortError") throw error;
    }
    if (this.listing !== listing) return;
    this.listing = null;
    this.buttons(false);
    this.show();
  }

  buttons(listing) {
    const isRun = this.about.mode === "run";
    byId("reload").hidden = !isRun;
    byId("reload").disabled = listing;
    byId("listing-start").hidden = listing;
    byId("listing-stop").hidden = !listing;
  }

  trouble(error) {
    say(byId("groups-trouble"), error?.message);
  }

  /** Reads the lines of groups that something arrived for, one after the other, each once. */
  async refresh(groupId) {
    this.stale.add(groupId);
    if (this.refreshing) return;
    this.refreshing = true;
    try {
      for (const next of this.stale) {
        this.stale.delete(next);
        const row = await ask("/api/row", { group_id: next });
        this.fresh.add(next);
        if (row.state === "there") this.all.set(next, searchable(row));
        else this.all.delete(next);
      }
      if (this.text) await this.lookUp();
    } catch (error) {
      this.trouble(error);
    } finally {
      this.refreshing = false;
    }
    this.show();
  }

  show() {
    const matches = this.matches();
    this.rows.show(matches);
    this.tell(matches.length);
  }

  /** What the list has of this text, and what the table knows of it as a GroupId or an account. */
  matches() {
    const text = this.text.toLowerCase();
    if (!text) return [...this.all.values()];
    const matches = new Map([...this.all].filter(([, row]) => row.words.includes(text)));
    for (const row of this.found?.account.groups ?? []) {
      const found = `${this.text}: ${row.role ?? "in it"}`;
      matches.set(row.group_id, { ...row, members: this.all.get(row.group_id)?.members, found });
    }
    const exact = this.found?.group;
    if (exact?.group_id && !matches.has(exact.group_id)) matches.set(exact.group_id, exact);
    return [...matches.values()];
  }

  tell(shown) {
    const link = byId("search-account");
    say(link, this.found && this.text ? `Groups and history of the account “${this.text}”` : null);
    link.href = accountAddress(this.text);
    byId("groups-status").textContent = [this.tellSearch(shown), this.tellListing()].filter(Boolean).join(" ");
  }

  tellSearch(shown) {
    if (!this.text) return null;
    if (!this.found) return byId("groups-trouble").hidden ? "Looking …" : null;
    const { groups, truncated } = this.found.account;
    const account = groups.length
      ? ` The account “${this.text}” is in ${truncated ? "more than " : ""}${number(groups.length)}.` : "";
    const elsewhere = this.found.group.state === "unannounced"
      ? " A group of this id was spoken of, but its creation has not been seen." : "";
    return `${shown ? count(shown, "group") : "No group"} found.${account}${elsewhere}`;
  }

  tellListing() {
    const { read } = this;
    if (this.about.mode === "run") {
      if (this.listing) return `Reading the table: ${count(this.all.size, "group")} so far …`;
      return this.text ? null : `${count(this.all.size, "group")}.`;
    }
    if (!read && this.listing) return "Reading the table …";
    if (!read) return "A GroupId and an account are looked up. Names are found once all groups are listed.";
    const spent = `${count(read.items, "item")} read, ${number(read.units)} read units`;
    if (this.listing) return `Reading the table: ${count(this.all.size, "group")} so far, ${spent} …`;
    const hidden = read.hidden ? `, ${number(read.hidden)} more destroyed or not announced` : "";
    return `${count(this.all.size, "group")} listed${read.done ? hidden : ", stopped early"} (${spent}).`;
  }
}

const count = (amount, word) => `${number(amount ?? 0)} ${word}${amount === 1 ? "" : "s"}`;

function searchable(row) {
  row.words = [row.group_id, row.name, row.owner].join("\n").toLowerCase();
  return row;
}

function cost(size) {
  const how = "Listing all groups reads the whole table once (a Scan; it takes the right dynamodb:Scan).";
  if (!size) return `${how} It costs one read unit for each 8 KB, about $0.02 for a GB on demand in us-east-1. ` +
    "With the right dynamodb:DescribeTable its size would be shown here.";
  const [unit, bytes] = size.bytes < 1e6 ? ["kB", 1e3] : ["MB", 1e6];
  const amount = `${number(Math.ceil(size.bytes / bytes))} ${unit}`;
  const dollars = size.dollars < 0.01 ? "less than 1 cent" : `about $${size.dollars.toFixed(2)}`;
  return `${how} At the last count, up to six hours ago, it held ${count(size.items, "item")}, ${amount}: ` +
    `${count(size.units, "read unit")}, ${dollars} on demand in us-east-1.`;
}
