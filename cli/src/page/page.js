// The page: what is shown where, and what happens when something arrives.

import { ask } from "/api.js";
import { Account } from "/account.js";
import { Arrivals } from "/arrivals.js";
import { byId, element, outside, say } from "/element.js";
import { Group } from "/group.js";
import { Groups } from "/groups.js";
import { Send } from "/send.js";

const TITLES = {
  groups: "groups-title", group: "group-title", account: "account-title", arrivals: "arrivals-title", send: "send-title",
};

async function start() {
  let about;
  try {
    about = await ask("/api/about");
  } catch (error) {
    say(byId("groups-trouble"), error.message);
    return;
  }
  describe(about);
  const groups = new Groups(about);
  const group = new Group(about);
  const account = new Account(about);
  const go = (moved) => route({ groups, group, account }, moved);
  addEventListener("hashchange", () => go(true));
  go(false);
  if (about.mode !== "run") return;
  const arrived = (groupId) => {
    groups.refresh(groupId);
    group.refresh(groupId);
  };
  const told = () => {
    group.history.refresh();
    account.refresh();
  };
  new Arrivals(arrived, told);
  await new Send().start();
}

function describe(about) {
  const isRun = about.mode === "run";
  document.body.dataset.mode = about.mode;
  byId("run").hidden = !isRun;
  const table = element("strong", {}, outside(about.table));
  const where = isRun ? "local run" : `read-only${about.region ? ` · ${about.region}` : ""}`;
  byId("about").replaceChildren(table, ` · SdkAppid ${about.sdk_app_id} · ${where}`);
}

/** Shows what the address names: `#/`, `#/search/<text>`, `#/group/<GroupId>`, `#/account/<UserID>`, `#/arrivals`, `#/send`. */
function route({ groups, group, account }, moved) {
  const [, name = "", rest = ""] = location.hash.match(/^#\/([^/]*)\/?(.*)$/) ?? [];
  const argument = decode(rest);
  const takesOne = name === "group" || name === "account";
  const view = name in TITLES && (!takesOne || argument) ? name : "groups";
  document.body.dataset.view = view;
  // Beside the arrivals there is always a list, a group or an account; a phone shows one of them.
  for (const [one, shown] of [["group", group], ["account", account]]) {
    byId(one).hidden = view !== one;
    if (view === one) shown.open(argument);
    else shown.close();
  }
  byId("groups").hidden = takesOne && view === name;
  if (!takesOne) document.title = "Groups";
  if (view === "groups") groups.search(name === "search" ? argument : "");
  for (const link of document.querySelectorAll("[data-to]")) {
    const isHere = link.dataset.to === view || (link.dataset.to === "groups" && takesOne);
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (moved) byId(TITLES[view]).focus({ preventScroll: true });
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

start();
