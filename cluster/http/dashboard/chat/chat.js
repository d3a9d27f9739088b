// The chat: conversations that stream, can be stopped, asked again, edited and kept.
import { announce, make } from "../dom.js";
import { keptInTab } from "../storage.js";
import { stream } from "../server.js";
import { cutOf, Incoming, sentence } from "./answer.js";
import { attach } from "./attach.js";
import { before, messagesFor, newConversation, pathOf, say, titleOf } from "./conversation.js";
import { find, keep } from "./history.js";
import { AnswerView, QuestionView } from "./turns.js";

/** Where the tab remembers which conversation it shows. */
const OPEN = "open";
/** Milliseconds between writing down an answer that is still coming. */
const KEEP_EVERY = 1000;

/**
 * The chat.
 *
 * @param {Record<string, HTMLElement>} parts its elements
 * @param {() => { system: string, fields: object, problem: string | null }} settings how answers are asked for
 * @param {() => string | null} model which one is asked; null: whichever there is
 * @returns what the drawer of conversations needs
 */
export function chat({ form, message, log, turns, welcome, title, notice, send, stop, fresh, adder, files }, settings, model) {
  let conversation = find(keptInTab.get(OPEN)) ?? newConversation();
  /** @type {{ abort: AbortController, view: AnswerView | null } | null} */
  let running = null;
  const views = new WeakMap();

  /** Whether something can be asked with what is set; if not, the user is told why. */
  function canAsk() {
    const { problem } = settings();
    if (problem !== null) tell(problem);
    return problem === null;
  }

  const doings = {
    canAsk,
    instead: (one) => before(conversation, one)?.next ?? [one],
    turnTo(one, by) {
      before(conversation, one).chosen += by;
      keepIt(conversation);
      show();
    },
    edit: (question, text) => void answer(say(before(conversation, question), "user", text)),
    again: (one) => void (canAsk() && answer(before(conversation, one))),
    goOn: (one) => void (canAsk() && answer(before(conversation, one), one)),
  };

  function viewOf(one) {
    if (!views.has(one)) {
      const view = one.role === "user" ? new QuestionView(one, doings) : new AnswerView(one, doings);
      view.show?.(false);
      views.set(one, view);
    }
    return views.get(one);
  }

  /** Shows the conversation as it is. */
  function show() {
    const path = pathOf(conversation);
    turns.replaceChildren(...path.map((one) => viewOf(one).element));
    welcome.hidden = path.length > 0;
    title.textContent = titleOf(conversation);
    enable();
  }

  /** What there is something to do for. */
  function enable() {
    const busy = running !== null;
    const had = [send, stop].includes(document.activeElement);
    send.hidden = busy;
    stop.hidden = !busy;
    if (had) (busy ? stop : send).focus();
    log.setAttribute("aria-busy", String(busy));
    for (const one of pathOf(conversation)) viewOf(one).refresh(busy);
  }

  function keepIt(which) {
    which.at = Date.now();
    notice.hidden = keep(which);
    notice.textContent = "The browser has no room to keep this conversation; export or delete some.";
    keptInTab.set(OPEN, conversation.id);
  }

  const atEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const toEnd = () => log.scrollTop = log.scrollHeight;

  /** Asks for an answer. @param going one that goes on; null: another */
  async function answer(question, going = null) {
    const mine = { abort: new AbortController(), view: null };
    const within = conversation;
    running = mine;
    const { system, fields } = settings();
    const messages = messagesFor(within, question, system);
    // One that failed makes room for the next.
    if (going === null) question.next = question.next.filter(({ end }) => end?.kind !== "error");
    const said = going ?? say(question, "assistant", "");
    const had = said.text.length + said.reasoning.length;
    const incoming = new Incoming(said);
    mine.view = viewOf(said);
    mine.view.show(true);
    show();
    toEnd();
    keepIt(within);
    let keptAt = Date.now();
    let frame = 0;
    const draw = () => {
      frame = 0;
      // Whoever scrolled up reads there.
      const follow = atEnd();
      mine.view.show(true);
      if (follow) toEnd();
    };
    let problem = null;
    try {
      const body = {
        messages: going === null ? messages : [...messages, { role: "assistant", content: going.text }],
        ...going === null ? {} : { continue_final_message: true, add_generation_prompt: false },
        ...fields,
        ...model() === null ? {} : { model: model() },
        stream: true,
        stream_options: { include_usage: true },
      };
      for await (const event of stream("v1/chat/completions", body, mine.abort.signal)) {
        if (mine.abort.signal.aborted) break;
        incoming.take(event);
        frame ||= requestAnimationFrame(draw);
        if (Date.now() - keptAt > KEEP_EVERY && find(within.id) !== null) {
          keep(within);
          keptAt = Date.now();
        }
      }
    } catch (error) {
      problem = error;
    }
    cancelAnimationFrame(frame);
    const stopped = mine.abort.signal.aborted;
    const came = said.text.length + said.reasoning.length > had;
    // The network says so in each browser's own words; what came is there.
    if (problem instanceof TypeError) problem = came ? null : new Error("The server cannot be reached.");
    const follow = atEnd();
    incoming.end({ stopped, error: problem });
    mine.view.show(false);
    // One that was deleted meanwhile stays so, and one that was imported over it is the one to keep.
    const replaced = within !== conversation && within.id === conversation.id;
    if (!replaced && find(within.id) !== null) keepIt(within);
    if (going !== null && problem !== null && !stopped) tell(`It cannot go on: ${sentence(problem.message)}`);
    // After another was begun, that is the one that runs.
    if (running !== mine) return;
    running = null;
    enable();
    if (follow) toEnd();
    announce(problem !== null && !stopped ? problem.message : cutOf(said.end) || `The answer is there: ${said.text.slice(0, 300)}`);
  }

  function tell(text) {
    notice.textContent = text;
    notice.hidden = false;
  }

  /** Puts another conversation in the place of the one that is open. */
  function change(to) {
    running?.abort.abort();
    running = null;
    conversation = to;
    keptInTab.set(OPEN, conversation.id);
    notice.hidden = true;
    show();
    toEnd();
  }

  /** @param {import("./conversation.js").Conversation | null} other null: a new one */
  function open(other) {
    // The one that is open is ahead of what is kept of it while an answer comes.
    if (other?.id !== conversation.id) change(other ?? newConversation());
    if (matchMedia("(pointer: fine)").matches) message.focus();
  }

  /** Shows the conversation that is open as it is kept: something else was written over it. */
  const reload = () => change(find(conversation.id) ?? conversation);

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const content = message.value.trim();
    if (content === "" || running !== null || !canAsk()) return;
    message.value = "";
    const last = pathOf(conversation).findLast(({ role }) => role === "assistant") ?? conversation.start;
    void answer(say(last, "user", content));
  });
  message.addEventListener("keydown", (event) => {
    // Keyboards of telephones have no Shift to begin a line with.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || matchMedia("(hover: none) and (pointer: coarse)").matches) return;
    event.preventDefault();
    form.requestSubmit();
  });
  stop.addEventListener("click", () => running?.abort.abort());
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && document.querySelector("dialog[open]") === null) running?.abort.abort();
  });
  fresh.addEventListener("click", () => open(null));
  attach({ message, area: form.parentElement, opener: adder, input: files }, tell);
  addEventListener("pagehide", () => {
    if (running !== null && find(conversation.id) !== null) keep(conversation);
  });
  for (const example of ["What is a kettle?", "Write a haiku about rain.", "Show me a loop in Python."]) {
    welcome.append(make("button.small", {
      type: "button",
      textContent: example,
      onclick() {
        message.value = example;
        form.requestSubmit();
      },
    }));
  }
  show();
  toEnd();
  return { current: () => conversation, open, reload };
}
