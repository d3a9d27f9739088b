// The chat: a conversation that streams, and can be stopped and asked again.
import { Answer } from "./answer.js";
import { Conversation } from "./conversation.js";
import { stream } from "./server.js";

/** @param parts the elements of the form */
export function chat({ form, message, system, temperature, most, conversation, again, stop, send, clear }) {
  const said = new Conversation();
  let running = null;

  function add(who, text = "") {
    const item = document.createElement("li");
    item.dataset.who = who;
    item.textContent = text;
    conversation.append(item);
    conversation.scrollTop = conversation.scrollHeight;
    return item;
  }

  /** Which buttons there is something to do for. */
  function enable() {
    send.disabled = running !== null;
    stop.disabled = running === null;
    again.disabled = running !== null || conversation.childElementCount === 0;
    clear.disabled = conversation.childElementCount === 0;
  }

  async function answer(turn) {
    const mine = running = new AbortController();
    const shown = new Answer(add("model"));
    enable();
    try {
      const body = {
        messages: said.messagesFor(turn, system.value.trim()),
        stream: true,
        stream_options: { include_usage: true },
        temperature: Number(temperature.value),
        max_tokens: Number(most.value),
      };
      for await (const event of stream("v1/chat/completions", body, mine.signal)) {
        if (mine.signal.aborted) break;
        // Whoever scrolled up reads there.
        const atEnd = conversation.scrollHeight - conversation.scrollTop - conversation.clientHeight < 40;
        shown.take(event);
        if (atEnd) conversation.scrollTop = conversation.scrollHeight;
      }
      said.answered(turn, shown.text);
      shown.end({ stopped: mine.signal.aborted });
    } catch (error) {
      if (mine.signal.aborted) said.answered(turn, shown.text);
      shown.end(mine.signal.aborted ? { stopped: true } : { error });
    }
    // After a clear, another may have begun.
    if (running !== mine) return;
    running = null;
    conversation.scrollTop = conversation.scrollHeight;
    // Buttons that are disabled lose the focus; whoever went elsewhere keeps it.
    const here = [message, send, stop, again, document.body].includes(document.activeElement);
    enable();
    if (here) message.focus();
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const content = message.value.trim();
    if (content === "" || running !== null) return;
    message.value = "";
    add("you", content);
    answer(said.ask(content));
  });
  message.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
  again.addEventListener("click", () => {
    const turn = running === null ? said.again() : null;
    if (turn === null) return;
    conversation.lastElementChild.remove();
    answer(turn);
  });
  stop.addEventListener("click", () => running?.abort());
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && document.querySelector("dialog[open]") === null) running?.abort();
  });
  clear.addEventListener("click", () => {
    running?.abort();
    running = null;
    said.clear();
    conversation.replaceChildren();
    enable();
    message.focus();
  });
  enable();
}
