// What has been said, and what of it the model is sent. Nothing here knows of the page: a conversation is JSON.

/**
 * Something that was said.
 *
 * @typedef {object} Said
 * @property {"start" | "user" | "assistant"} role `start`: nothing yet; there is one, before everything
 * @property {string} text
 * @property {string} reasoning of an answer
 * @property {End | null} end how an answer ended; null: it has not
 * @property {Said[]} next what was said then, each instead of the others
 * @property {number} chosen which of them the conversation goes on with
 *
 * @typedef {object} End
 * @property {"whole" | "length" | "stopped" | "broken" | "error"} kind
 * @property {string} [message] of an error
 * @property {number | null} first milliseconds until its first token; null: none came
 * @property {number} rest milliseconds from there to its last
 * @property {number | null} tokens
 * @property {number | null} thought milliseconds of reasoning
 *
 * @typedef {object} Conversation
 * @property {string} id
 * @property {number} at when something was last said, in milliseconds since 1970
 * @property {Said} start
 */

/** A conversation in which nothing has been said. @returns {Conversation} */
export function newConversation(now = Date.now()) {
  // No `crypto.randomUUID`: pages that came without TLS from another host have none.
  return { id: `${now.toString(36)}-${Math.random().toString(36).slice(2, 10)}`, at: now, start: said("start", "") };
}

/** @returns {Said} */
function said(role, text) {
  return { role, text, reasoning: "", end: null, next: [], chosen: 0 };
}

/** What has been said, from the first to the last. @param {Conversation} conversation @returns {Said[]} */
export function pathOf({ start }) {
  const path = [];
  for (let at = start; at.next.length > 0; path.push(at)) at = at.next[at.chosen];
  return path;
}

/** What something was said to. @returns {Said | null} null: it is no longer part of the conversation, or another is shown instead */
export function before(conversation, one) {
  const all = [conversation.start, ...pathOf(conversation)];
  return all[all.indexOf(one) - 1] ?? null;
}

/** Says something after `to`, in the place of what may have been said then. @param {Said} to @returns {Said} */
export function say(to, role, text) {
  to.next.push(said(role, text));
  to.chosen = to.next.length - 1;
  return to.next[to.chosen];
}

/** Whether an answer came, if only in part: others are no part of the conversation, nor are their questions. @param {Said} answer */
export const counts = ({ text, end }) => text !== "" && end?.kind !== "error";

/**
 * What the model is to be sent for a question.
 *
 * @param {Conversation} conversation @param {Said} question one that is shown
 * @param {string} system what it is told first; empty: nothing
 */
export function messagesFor(conversation, question, system) {
  const path = pathOf(conversation);
  const messages = system === "" ? [] : [{ role: "system", content: system }];
  for (let i = 0; path[i] !== question; i += 2) {
    if (path[i + 1] === undefined) throw new Error("the question is no part of the conversation");
    if (counts(path[i + 1])) messages.push({ role: "user", content: path[i].text }, { role: "assistant", content: path[i + 1].text });
  }
  return [...messages, { role: "user", content: question.text }];
}

/** What a conversation is called. @param {Conversation} conversation */
export function titleOf(conversation) {
  const [first] = pathOf(conversation);
  if (first === undefined) return "New chat";
  const line = first.text.trim().split("\n")[0];
  return line.length > 60 ? `${line.slice(0, 59)}…` : line;
}

/** As it is shown, in Markdown. @param {Conversation} conversation */
export function toMarkdown(conversation) {
  const turns = pathOf(conversation).map(({ role, text }) => `## ${role === "user" ? "You" : "Model"}\n\n${text}\n`);
  return [`# ${titleOf(conversation)}\n`, ...turns].join("\n");
}

/** A conversation as JSON that is as deep however long it is: what was said, each with the number of what it was said to. @param {Conversation} conversation */
export function write({ id, at, start }) {
  const all = [{ one: start, to: -1 }];
  for (let i = 0; i < all.length; i++) all.push(...all[i].one.next.map((one) => ({ one, to: i })));
  return { id, at, said: all.map(({ one: { role, text, reasoning, end, chosen }, to }) => ({ role, to, text, reasoning, end, chosen })) };
}

/** A conversation that was written down; null: this is none. @param {unknown} value @returns {Conversation | null} */
export function read(value) {
  if (typeof value?.id !== "string" || !Number.isFinite(value.at) || !Array.isArray(value.said)) return null;
  const all = [];
  for (const entry of value.said) {
    const one = readSaid(entry);
    const to = all[entry?.to];
    if (one === null || one.role !== (to === undefined ? "start" : to.role === "user" ? "assistant" : "user")) return null;
    if (to === undefined && all.length > 0) return null;
    to?.next.push(one);
    all.push(one);
  }
  for (const one of all) one.chosen = Math.max(0, Math.min(one.chosen, one.next.length - 1));
  return all.length === 0 ? null : { id: value.id, at: value.at, start: all[0] };
}

/** @returns {Said | null} */
function readSaid(value) {
  if (typeof value?.text !== "string") return null;
  const { role, text, reasoning, chosen } = value;
  return {
    role,
    text,
    reasoning: typeof reasoning === "string" ? reasoning : "",
    end: readEnd(value.end),
    next: [],
    chosen: Number.isInteger(chosen) ? chosen : 0,
  };
}

const KINDS = ["whole", "length", "stopped", "broken", "error"];

function readEnd(value) {
  if (!KINDS.includes(value?.kind)) return null;
  const number = (one) => Number.isFinite(one) ? one : null;
  const { kind, first, rest, tokens, thought } = value;
  return {
    kind,
    message: String(value.message ?? ""),
    first: number(first),
    rest: number(rest) ?? 0,
    tokens: number(tokens),
    thought: number(thought),
  };
}
