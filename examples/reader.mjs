// Reads the table of docs/table.md, by its three rules: isThere, isMember, isOwner.
//
//     const reader = new Reader(DynamoDBDocument.from(new DynamoDB()), tableName, sdkAppId);

import { paginateQuery } from "@aws-sdk/lib-dynamodb";

const BATCH_MAX_KEYS = 100;

export const isThere = (group) => "event_time" in group && !("destroyed_at" in group);
export const isMember = (item, group) => !("left_at" in item) && (item.event_time ?? -1) >= group.event_time;
export const isOwner = (account, group) => group.owner_account === account;

export class Reader {
  constructor(client, tableName, sdkAppId) {
    Object.assign(this, { client, tableName, sdkAppId });
  }

  // A group's item and those of its members by account; undefined if the group is not there.
  async group(groupId) {
    // The group item comes first, and after it all members that it had then.
    const [group, ...items] = await this.#query("pk", groupId, { ConsistentRead: true });
    if (group?.sk !== "GROUP" || !isThere(group)) return undefined;
    const members = items.filter((item) => isMember(item, group)).map((item) => [item.account, item]);
    return { group, members: Object.fromEntries(members) };
  }

  // The items of the groups that an account owns or is a member of.
  async groupsOf(account) {
    const entries = await this.#query("account_key", account, { IndexName: "by_account" });
    const memberships = new Map(entries.filter((entry) => entry.sk !== "GROUP").map((entry) => [entry.pk, entry]));
    const groups = await this.#groups([...new Set(entries.map((entry) => entry.pk))].sort());
    const isOf = (group) => memberships.has(group.pk) && isMember(memberships.get(group.pk), group);
    return groups.filter((group) => isThere(group) && (isOwner(account, group) || isOf(group)));
  }

  async #groups(pks) {
    const groups = [];
    for (let start = 0; start < pks.length; start += BATCH_MAX_KEYS) {
      const Keys = pks.slice(start, start + BATCH_MAX_KEYS).map((pk) => ({ pk, sk: "GROUP" }));
      let pending = { [this.tableName]: { Keys } };
      while (pending && Object.keys(pending).length > 0) {
        const answer = await this.client.batchGet({ RequestItems: pending });
        groups.push(...(answer.Responses?.[this.tableName] ?? []));
        pending = answer.UnprocessedKeys;
      }
    }
    return groups;
  }

  async #query(name, id, options) {
    const KeyConditionExpression = `${name} = :key`;
    const ExpressionAttributeValues = { ":key": `${this.sdkAppId}#${id}` };
    const request = { TableName: this.tableName, KeyConditionExpression, ExpressionAttributeValues, ...options };
    const items = [];
    for await (const page of paginateQuery({ client: this.client }, request)) items.push(...page.Items);
    return items;
  }
}
