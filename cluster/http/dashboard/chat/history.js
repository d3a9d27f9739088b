// Conversations of this browser, one entry of its storage each: several tabs may write.
import { kept } from "../storage.js";
import { read, write } from "./conversation.js";

const ENTRY = "conversation-";

/** @typedef {import("./conversation.js").Conversation} Conversation */

/** All of them, the latest first. @returns {Conversation[]} */
export function conversations() {
  return kept.keys(ENTRY).map((key) => read(kept.get(key))).filter((one) => one !== null).sort((a, b) => b.at - a.at);
}

/** @param {string} id @returns {Conversation | null} */
export const find = (id) => read(kept.get(ENTRY + id));

/** @param {Conversation} conversation @returns {boolean} whether the browser keeps it: it may have no room, or not be allowed to */
export const keep = (conversation) => kept.set(ENTRY + conversation.id, write(conversation));

/** @param {string} id */
export const forget = (id) => void kept.set(ENTRY + id, null);

/** All as one JSON text. */
export const exported = () => JSON.stringify({ format: "latentmesh-conversations", version: 1, conversations: conversations().map(write) }, null, 1);

/**
 * Takes over what {@link exported} gave; what has the same name is replaced.
 *
 * @param {string} text
 * @returns {{ ids: string[], left: number }} whose names were in it, and for how many the browser has no room: those are there until the page is closed
 * @throws {Error} if it is something else
 */
export function takeIn(text) {
  let all = null;
  try {
    all = JSON.parse(text)?.conversations;
  } catch {
    // Said below.
  }
  const conversations = Array.isArray(all) ? all.map(read) : [null];
  if (conversations.includes(null)) throw new Error("This is no file of conversations that this page has exported.");
  return { left: conversations.filter((one) => !keep(one)).length, ids: conversations.map(({ id }) => id) };
}
