// Elements and times. Whatever comes from outside becomes text: nothing here takes markup.

/** Makes an element; functions among the attributes listen, and children that are no elements become text. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child != null && child !== false));
  return made;
}

export const byId = (id) => document.getElementById(id);

/** Text from outside, kept from turning the direction of what stands around it. */
export const outside = (text) => element("bdi", {}, text ?? "");

/** Shows a text, or hides the element where there is none. */
export function say(target, text) {
  target.textContent = text ?? "";
  target.hidden = !text;
}

const DAY = { year: "numeric", month: "short", day: "numeric" };
const TIME = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
const FULL = [new Intl.DateTimeFormat(undefined, { ...DAY, ...TIME })];
const CLOCK = [new Intl.DateTimeFormat(undefined, { ...TIME, fractionalSecondDigits: 3 })];
const DAY_AND_TIME = [new Intl.DateTimeFormat(undefined, DAY), new Intl.DateTimeFormat(undefined, TIME)];
const NUMBER = new Intl.NumberFormat();

export const number = (value) => NUMBER.format(value);

/** A time in milliseconds, in the viewer's own zone; UTC on hover. */
export function moment(milliseconds, formats = FULL) {
  if (milliseconds == null) return element("span", { class: "none" }, "–");
  const date = new Date(milliseconds);
  if (Number.isNaN(date.getTime())) return String(milliseconds);
  const utc = date.toISOString();
  const parts = formats.map((format) => element("span", {}, format.format(date)));
  return element("time", { datetime: utc, title: `${utc} (${milliseconds})` }, parts[0], parts[1] && " ", parts[1]);
}

export const clock = (milliseconds) => moment(milliseconds, CLOCK);
export const dayAndTime = (milliseconds) => moment(milliseconds, DAY_AND_TIME);

/** The addresses of a group's page and of an account's. */
export const groupAddress = (groupId) => `#/group/${encodeURIComponent(groupId)}`;
export const accountAddress = (account) => `#/account/${encodeURIComponent(account)}`;

export const groupLink = (groupId) => element("a", { href: groupAddress(groupId) }, outside(groupId));
export const accountLink = (account) => element("a", { href: accountAddress(account) }, outside(account));
