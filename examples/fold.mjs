// What the events of docs/events.md say together: groups and members as readers of the table see them.
// Events may come in any order, repeated, and some may be missing as long as the last one of each item came.

const FIELDS = ["type", "name", "introduction", "notification", "face_url", "owner_account", "role", "name_card"];
const CUSTOM = "user_defined.";

// A fact is [time, rank, value]. At the same time, absent comes before left out, and that before text.
const [ABSENT, OMITTED, TEXT] = [0, 1, 2];
const isNewer = (a, b) =>
  (a[0] - b[0] || a[1] - b[1] || Buffer.compare(Buffer.from(a[2] ?? ""), Buffer.from(b[2] ?? ""))) > 0;

export class Roster {
  #groups = new Map(); // by application and group: items by account, the group itself by ""

  apply({ data }) {
    const { after, omitted = [] } = data;
    const key = JSON.stringify([data.sdk_app_id, data.group_id]);
    if (!this.#groups.has(key)) this.#groups.set(key, new Map());
    const items = this.#groups.get(key);
    const account = data.account ?? "";
    if (!items.has(account)) items.set(account, { began: -1, ended: -1, facts: new Map() });
    const item = items.get(account);
    item.began = Math.max(item.began, after.event_time ?? -1);
    item.ended = Math.max(item.ended, after.destroyed_at ?? after.left_at ?? -1);

    const said = new Map(Object.keys(after.changed_at ?? {}).map((name) => [name, [ABSENT]]));
    for (const name of FIELDS) if (name in after) said.set(name, [TEXT, after[name]]);
    for (const [key, value] of Object.entries(after.user_defined ?? {})) said.set(CUSTOM + key, [TEXT, value]);
    for (const name of omitted) said.set(name, [OMITTED]);
    for (const [name, value] of said) {
      const fact = [after.changed_at?.[name] ?? after.event_time ?? 0, ...value];
      if (!item.facts.has(name) || isNewer(fact, item.facts.get(name))) item.facts.set(name, fact);
    }
  }

  // A group with its members; undefined if it is not there.
  group(sdkAppId, groupId) {
    const items = this.#groups.get(JSON.stringify([sdkAppId, groupId])) ?? new Map();
    const isThere = ({ began, ended }) => began >= 0 && ended < began;
    const group = items.get("");
    if (!group || !isThere(group)) return undefined;
    const isMember = ([account, item]) => account !== "" && isThere(item) && item.began >= group.began;
    const members = [...items].filter(isMember).map(([account, item]) => [account, view(item)]);
    return { ...view(group), members: Object.fromEntries(members) };
  }
}

// Facts of an earlier life count no more. Of those in `omitted`, the table has the values.
function view({ began, facts }) {
  const current = [...facts].filter(([, [time, rank]]) => time >= began && rank !== ABSENT);
  const texts = current.filter(([, [, rank]]) => rank === TEXT).map(([name, [, , value]]) => [name, value]);
  const omitted = current.filter(([, [, rank]]) => rank === OMITTED).map(([name]) => name).sort();
  return { event_time: began, fields: Object.fromEntries(texts), ...(omitted.length ? { omitted } : {}) };
}
