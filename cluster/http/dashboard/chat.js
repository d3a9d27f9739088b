// The chat: a conversation that streams, and can be stopped.
import { stream } from "./server.js";

/** @param parts the elements of the form */
export function chat({ form, message, temperature, most, conversation, stop, send, clear }) {
  let messages = [];
  let running = null;

  function add(who, text = "") {
    const item = document.createElement("li");
    item.dataset.who = who;
    item.textContent = text;
    conversation.append(item);
    item.scrollIntoView({ block: "nearest" });
    return item;
  }

  async function answer() {
    running = new AbortController();
    send.disabled = true;
    stop.disabled = false;
    const item = add("model");
    const reasoning = document.createElement("span");
    reasoning.className = "reasoning";
    const text = document.createElement("span");
    try {
      const body = { messages, stream: true, temperature: Number(temperature.value), max_tokens: Number(most.value) };
      for await (const { choices: [choice] } of stream("v1/chat/completions", body, running.signal)) {
        if (choice?.delta.reasoning_content) {
          if (!reasoning.isConnected) item.append(reasoning);
          reasoning.textContent += choice.delta.reasoning_content;
        }
        if (choice?.delta.content) {
          if (!text.isConnected) item.append(text);
          text.textContent += choice.delta.content;
        }
        conversation.scrollTop = conversation.scrollHeight;
      }
    } catch (error) {
      if (!running.signal.aborted) {
        item.classList.add("error");
        item.append(error.message);
      }
    } finally {
      messages.push({ role: "assistant", content: text.textContent });
      running = null;
      // Buttons that are disabled lose the focus; whoever went elsewhere keeps it.
      const here = [message, send, stop, document.body].includes(document.activeElement);
      send.disabled = false;
      stop.disabled = true;
      if (here) message.focus();
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const content = message.value.trim();
    if (content === "" || running !== null) return;
    message.value = "";
    messages.push({ role: "user", content });
    add("you", content);
    answer();
  });
  message.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
  stop.addEventListener("click", () => running?.abort());
  clear.addEventListener("click", () => {
    running?.abort();
    messages = [];
    conversation.replaceChildren();
    message.focus();
  });
}
