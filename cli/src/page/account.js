// One account: the groups that it is in, and its history.

import { ask, coalesced } from "/api.js";
import { byId, element, groupAddress, number, outside, say } from "/element.js";
import { History } from "/history.js";

export class Account {
  constructor(about) {
    this.history = new History(byId("account-history"), about, true);
    this.read = coalesced(() => this.readOnce());
  }

  async open(account) {
    if (account !== this.account) this.show({ groups: [] });
    this.account = account;
    document.title = `${account} · Groups`;
    byId("account-title").replaceChildren(outside(account));
    await Promise.all([this.read(), this.history.open({ account })]);
  }

  close() {
    this.account = null;
    this.history.close();
  }

  async refresh() {
    await Promise.all([this.read(), this.history.refresh()]);
  }

  async readOnce() {
    const { account } = this;
    if (!account) return;
    try {
      const found = await ask("/api/account", { account });
      if (account === this.account) this.show(found);
      say(byId("account-trouble"), null);
    } catch (error) {
      say(byId("account-trouble"), error.message);
    }
  }

  show({ groups, truncated }) {
    byId("account-groups-title").textContent = `Groups: ${truncated ? "more than " : ""}${number(groups.length)}`;
    byId("account-groups").replaceChildren(...groups.map((group) => element("li", {},
      element("a", { href: groupAddress(group.group_id) }, outside(group.name || group.group_id)),
      element("span", { class: "id" }, outside(group.group_id)),
      group.role && element("span", { class: `badge ${group.role === "Owner" ? "owner" : ""}` }, outside(group.role)))));
  }
}
