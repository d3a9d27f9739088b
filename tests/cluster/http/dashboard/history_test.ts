/**
 * What this browser keeps of conversations, and what it takes in.
 */
import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertThrows } from "@std/assert";
import { newConversation, say, titleOf } from "../../../../cluster/http/dashboard/chat/conversation.js";

/** A browser's storage with room for so many characters. */
class Small {
  readonly #entries = new Map<string, string>();

  constructor(readonly room: number) {}

  get length() {
    return this.#entries.size;
  }
  key(at: number) {
    return [...this.#entries.keys()][at] ?? null;
  }
  getItem(key: string) {
    return this.#entries.get(key) ?? null;
  }
  removeItem(key: string) {
    this.#entries.delete(key);
  }
  setItem(key: string, value: string) {
    const others = [...this.#entries].reduce((sum, [other, text]) => sum + (other === key ? 0 : text.length), 0);
    if (others + value.length > this.room) throw new DOMException("full", "QuotaExceededError");
    this.#entries.set(key, value);
  }
}

const storage = new Small(3000);
// Before the page's modules look for it.
Object.defineProperty(globalThis, "localStorage", { value: storage, configurable: true });
const { conversations, exported, forget, keep, takeIn } = await import("../../../../cluster/http/dashboard/chat/history.js");

function asked(text: string, at: number) {
  const conversation = newConversation(at);
  say(conversation.start, "user", text);
  return conversation;
}

describe("the page's history", () => {
  it("takes in all that is in a file, and says for how many there is no room", () => {
    const all = [asked("small", 1), asked(`large ${"x".repeat(4000)}`, 2), asked("last", 3)];
    for (const one of all) keep(one);
    const file = exported();
    for (const { id } of all) forget(id);
    assertEquals([conversations(), storage.length], [[], 0]);
    const { ids, left } = takeIn(file);
    assertEquals([ids.toSorted(), left], [all.map(({ id }) => id).toSorted(), 1]);
    // The large one is there, too, but only for now.
    assertEquals(conversations().map((one) => titleOf(one).slice(0, 5)), ["last", "large", "small"]);
    assertEquals(storage.length, 2);
    for (const wrong of ["", "{}", "null", '{"conversations":[{}]}']) assertThrows(() => takeIn(wrong), Error, "no file of conversations");
    assertEquals(conversations().length, 3);
  });
});
