// One group: its fields, its members, its history, and what arrived for it.

import { ask, coalesced } from "/api.js";
import { line } from "/arrivals.js";
import { accountAddress, accountLink, byId, element, moment, number, outside, say } from "/element.js";
import { History } from "/history.js";
import { byNumber, byText, Rows } from "/rows.js";

const NOTES = {
  absent: "The table holds nothing of this group.",
  destroyed: "This group was destroyed. Its mark goes 30 days after it was written.",
  unannounced: "Callbacks spoke of this group, but its creation has not been seen. " +
    "It shows once it was, or once a reconcile has brought it.",
};

const RANKS = ["Owner", "Admin", "Member"];
const rank = (member) => (member.left ? 9 : (RANKS.indexOf(member.role) + 9) % 9);

const COLUMNS = [
  { name: "account", label: "Account", compare: byText((member) => member.account) },
  { name: "role", label: "Role", compare: (a, b) => rank(a) - rank(b) || byText((member) => member.account)(a, b) },
  { name: "card", label: "Name card", compare: byText((member) => member.name_card || null) },
  { name: "joined", label: "Joined", number: true, compare: byNumber((member) => member.joined) },
  { name: "left", label: "Left", number: true, compare: byNumber((member) => member.left) },
];

const TIMES = new Set(["changed_at", "received_at"]);

function draw(member) {
  const account = element("a", { href: accountAddress(member.account), "data-stop": true }, outside(member.account));
  const role = member.left ? "left" : member.role;
  const contents = [
    account,
    role && element("span", { class: `badge ${String(role).toLowerCase() === "owner" ? "owner" : ""}` }, outside(role)),
    member.name_card && outside(member.name_card),
    member.joined && moment(member.joined),
    member.left && moment(member.left),
  ].map((content) => content || element("span", { class: "none" }, "–"));
  contents.class = member.left ? "gone" : null;
  return contents;
}

export class Group {
  constructor(about) {
    this.about = about;
    this.members = new Rows(byId("members-rows"), {
      label: "Members", columns: COLUMNS, draw, key: (member) => member.account, sort: { by: "role", down: false },
    });
    this.history = new History(byId("group-history"), about);
    this.read = coalesced(() => this.readOnce());
    byId("why").addEventListener("submit", (event) => {
      event.preventDefault();
      this.askWhy();
    });
  }

  async open(groupId) {
    if (this.groupId !== groupId) {
      this.groupId = groupId;
      this.show({ row: { state: "reading" }, details: {}, members: [], arrivals: [] });
      byId("why").reset();
      say(byId("why-answer"), null);
    }
    await Promise.all([this.read(), this.history.open({ group_id: groupId })]);
  }

  close() {
    this.groupId = null;
    this.history.close();
  }

  /** Reads the group again where something arrived for it; a burst costs two reads. */
  async refresh(groupId) {
    if (groupId === this.groupId) await this.read();
  }

  async readOnce() {
    const groupId = this.groupId;
    if (!groupId) return;
    try {
      const shown = await ask("/api/group", { group_id: groupId });
      if (groupId === this.groupId) this.show(shown);
      say(byId("group-trouble"), null);
    } catch (error) {
      say(byId("group-trouble"), error.message);
    }
  }

  async askWhy() {
    const [groupId, account] = [this.groupId, byId("why-account").value.trim()];
    if (!account) return;
    try {
      const { answer } = await ask("/api/why", { group_id: groupId, account });
      if (groupId === this.groupId) say(byId("why-answer"), answer);
    } catch (error) {
      say(byId("why-answer"), error.message);
    }
  }

  show({ row, details, members, arrivals }) {
    byId("group-title").replaceChildren(outside(row.name || this.groupId));
    byId("group-id").replaceChildren(outside(this.groupId));
    document.title = `${row.name || this.groupId} · Groups`;
    say(byId("group-state"), row.state in NOTES ? row.state : null);
    say(byId("group-note"), NOTES[row.state]);
    byId("group-facts").replaceChildren(...facts(row, details));
    byId("group-details").replaceChildren(...attributes(details));
    byId("group-more").hidden = Object.keys(details).length === 0;
    const left = members.filter((member) => member.left).length;
    const here = number(members.length - left);
    const who = `${here}${left ? `, and ${number(left)} who left` : ""}`;
    byId("members-title").textContent = `Members: ${row.type === "AVChatRoom" ? "not kept of an AVChatRoom" : who}`;
    byId("members-rows").hidden = members.length === 0;
    this.members.show(members);
    this.arrived(arrivals);
  }

  /** Newest first: what is shown already stays, with whatever is unfolded in it. */
  arrived(arrivals = []) {
    const list = byId("group-arrivals");
    if (arrivals.length === 0) list.replaceChildren();
    const newest = Number(list.firstElementChild?.dataset.id ?? 0);
    list.prepend(...arrivals.filter(({ id }) => id > newest).map((arrival) => line(arrival, true)));
    byId("group-arrived").hidden = arrivals.length === 0;
  }
}

const fact = (name, ...content) => [element("dt", {}, name), element("dd", {}, ...content)];

function facts(row, details) {
  const shown = [
    row.type && fact("Type", outside(row.type)),
    row.owner && fact("Owner", accountLink(row.owner)),
    row.created && fact("Created", moment(row.created)),
    row.changed && fact("Changed", moment(row.changed)),
    row.destroyed && fact("Destroyed", moment(row.destroyed)),
    details.introduction && fact("Introduction", outside(details.introduction)),
    details.notification && fact("Notification", outside(details.notification)),
    ...Object.entries(details.user_defined ?? {}).map(([name, value]) => fact(outside(name), outside(String(value)))),
  ];
  return shown.filter(Boolean).flat();
}

/** Every attribute as the table has it, by name. */
function attributes(details) {
  return Object.keys(details).sort().flatMap((name) => fact(name, content(name, details[name])));
}

function content(name, value) {
  if (TIMES.has(name) && typeof value === "number") return moment(value);
  if (name === "changed_at" && value && typeof value === "object") {
    return element("dl", {}, ...Object.keys(value).sort().flatMap((field) => fact(outside(field), moment(value[field]))));
  }
  return outside(typeof value === "object" ? JSON.stringify(value, null, 1) : String(value));
}
