// Samples: sent at a click, edited first, or played as the life of a group.

import { ask, post } from "/api.js";
import { byId, element, groupAddress } from "/element.js";

const BETWEEN_MS = 500;

/** The order of a life; each sample is there once. */
const LIFE = [
  "AfterCreateGroup", "AfterNewMemberJoin", "AfterMemberFieldChanged", "AfterGroupInfoChanged",
  "AfterChangeGroupOwner", "AfterMemberExit", "AfterGroupDestroyed",
];

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** The sample as it is sent now. */
const body = (sample, changes = {}) => JSON.stringify({ ...sample.body, ...changes, EventTime: Date.now() }, null, 2);

export class Send {
  async start() {
    this.samples = await ask("/api/samples");
    byId("samples").append(...this.samples.map((sample) => this.entry(sample)));
    byId("life").addEventListener("click", () => this.life());
    byId("edit-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.send(this.edited, byId("edit-body").value, byId("edit-status"));
    });
    byId("edit-now").addEventListener("click", () => this.now());
    byId("edit-close").addEventListener("click", () => byId("edit").close());
  }

  entry(sample) {
    const send = () => this.send(sample, body(sample), byId("send-status"));
    const command = sample.command.replace("Group.Callback", "");
    return element("li", {},
      element("button", { type: "button", class: "sample", "data-command": command, click: send }, sample.label),
      element("button", {
        type: "button", class: "quiet edit", "aria-label": `Edit: ${sample.label}`, click: () => this.edit(sample),
      }, "Edit"));
  }

  edit(sample) {
    this.edited = sample;
    byId("edit-title").textContent = sample.label;
    byId("edit-body").value = body(sample);
    byId("edit-status").textContent = "";
    byId("edit").showModal();
  }

  /** Sets the EventTime of the edited body; one that is no JSON stays as it is. */
  now() {
    const field = byId("edit-body");
    try {
      field.value = JSON.stringify({ ...JSON.parse(field.value), EventTime: Date.now() }, null, 2);
    } catch (error) {
      byId("edit-status").textContent = `Not JSON, so EventTime can't be set: ${error.message}`;
    }
  }

  /** Sends one callback and says what the receiver answered. */
  async send(sample, text, status) {
    try {
      const answer = await post("/api/send", { command: sample.command, body: text });
      status.textContent = `${sample.label}: ${answer.status} ${answer.text}`;
    } catch (error) {
      status.textContent = error.message;
    }
  }

  /** A new group from its creation to its end, slowly enough to be watched on its page. */
  async life() {
    const button = byId("life");
    button.disabled = true;
    const groupId = `life-${Date.now().toString(36)}`;
    location.hash = groupAddress(groupId);
    for (const command of LIFE) {
      const sample = this.samples.find((known) => known.command.endsWith(command));
      await this.send(sample, body(sample, { GroupId: groupId }), byId("send-status"));
      await pause(BETWEEN_MS);
    }
    button.disabled = false;
  }
}
