// What was said, as elements of a list.
import { copyButton } from "../copy.js";
import { button, make } from "../dom.js";
import { cutOf, seconds, speedOf } from "./answer.js";
import { MarkdownText } from "./markdown.js";

/**
 * What can be done with what was said.
 *
 * @typedef {object} Doings
 * @property {(one: Said) => Said[]} instead what was said in its place, itself included
 * @property {(one: Said, by: number) => void} turnTo shows another of them
 * @property {() => boolean} canAsk whether something can be asked now; if not, says why
 * @property {(question: Said, text: string) => void} edit
 * @property {(answer: Said) => void} again
 * @property {(answer: Said) => void} goOn
 *
 * @typedef {import("./conversation.js").Said} Said
 */

/** Says which of several versions is shown, and leads to the others. */
class Versions {
  #one;
  #doings;
  #count = make("span");
  #back;
  #forth;
  element;

  constructor(one, doings) {
    this.#one = one;
    this.#doings = doings;
    this.#back = button("‹", () => doings.turnTo(one, -1), { "aria-label": "Earlier version" });
    this.#forth = button("›", () => doings.turnTo(one, 1), { "aria-label": "Later version" });
    this.element = make("span.versions", {}, this.#back, this.#count, this.#forth);
  }

  /** @param {boolean} busy whether an answer is being written */
  refresh(busy) {
    const all = this.#doings.instead(this.#one);
    const at = all.indexOf(this.#one);
    this.element.hidden = all.length < 2;
    this.#count.textContent = `${at + 1} of ${all.length}`;
    this.#back.disabled = busy || at === 0;
    this.#forth.disabled = busy || at === all.length - 1;
  }
}

/** Characters beyond which a question may not fit its box. */
const LONG = 600;

/** A question. */
export class QuestionView {
  element = make("li", { "data-who": "you" });
  #question;
  #doings;
  #text;
  #versions;
  #edit;
  #actions;

  /** @param {Said} question @param {Doings} doings */
  constructor(question, doings) {
    this.#question = question;
    this.#doings = doings;
    this.#text = make("div.text", { textContent: question.text });
    // Files may be long: they scroll, also by keyboard.
    if (question.text.length > LONG) this.#text.tabIndex = 0;
    this.#versions = new Versions(question, doings);
    this.#edit = button("Edit", () => this.#begin(), { "aria-label": "Edit this question" });
    this.#actions = make("div.actions", {}, this.#versions.element, this.#edit, copyButton(() => question.text, "Copy this question"));
    this.element.append(make("p.who", { textContent: "You" }), this.#text, this.#actions);
  }

  /** @param {boolean} busy */
  refresh(busy) {
    this.#versions.refresh(busy);
    this.#edit.disabled = busy;
  }

  #begin() {
    const area = make("textarea", {
      value: this.#question.text,
      rows: Math.min(12, this.#question.text.split("\n").length + 1),
      "aria-label": "Question",
    });
    const end = () => {
      form.replaceWith(this.#text);
      this.#actions.hidden = false;
    };
    const form = make(
      "form.edit",
      {
        onsubmit: (event) => {
          event.preventDefault();
          const text = area.value.trim();
          if (text === "" || this.#edit.disabled || !this.#doings.canAsk()) return;
          end();
          this.#doings.edit(this.#question, text);
        },
        onkeydown: (event) => {
          if (event.key === "Escape") {
            event.stopPropagation();
            end();
            this.#edit.focus();
          } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
            event.preventDefault();
            form.requestSubmit();
          }
        },
      },
      area,
      make("div.actions", {}, make("button.small", { type: "submit", textContent: "Ask again" }), button("Cancel", end)),
    );
    this.#text.replaceWith(form);
    this.#actions.hidden = true;
    area.focus();
  }
}

/** An answer, as far as it is there. */
export class AnswerView {
  element = make("li", { "data-who": "model" });
  #answer;
  #doings;
  #reasoning = make("details.reasoning", { hidden: true });
  #reasoningText = make("div.markdown");
  #text = make("div.text.markdown");
  #cut = make("p.cut", { hidden: true });
  #speed = make("span.speed");
  #again;
  #goOn;
  #versions;
  #actions;
  #shownReasoning;
  #shownText;

  /** @param {Said} answer @param {Doings} doings */
  constructor(answer, doings) {
    this.#answer = answer;
    this.#doings = doings;
    this.#shownReasoning = new MarkdownText(this.#reasoningText);
    this.#shownText = new MarkdownText(this.#text);
    this.#versions = new Versions(answer, doings);
    this.#again = button("Again", () => doings.again(answer), { "aria-label": "Answer again" });
    this.#goOn = button("Continue", () => doings.goOn(answer), { "aria-label": "Continue this answer" });
    this.#actions = make(
      "div.actions",
      {},
      this.#versions.element,
      this.#goOn,
      this.#again,
      copyButton(() => answer.text, "Copy this answer"),
      this.#speed,
    );
    this.#reasoning.append(make("summary"), this.#reasoningText);
    this.element.append(make("p.who", { textContent: "Model" }), this.#reasoning, this.#text, this.#cut, this.#actions);
  }

  /** Shows what has come. @param {boolean} running whether more comes */
  show(running) {
    const { reasoning, text, end } = this.#answer;
    this.element.classList.toggle("running", running);
    this.#reasoning.hidden = reasoning === "";
    if (reasoning !== "") {
      const thought = end?.thought ?? null;
      this.#reasoning.firstChild.textContent = running && text === ""
        ? "Thinking …"
        : thought === null
        ? "Thoughts"
        : `Thought for ${seconds(thought)}`;
      this.#shownReasoning.show(reasoning, !running || text !== "");
    }
    this.#shownText.show(text, !running);
    const cut = running ? "" : cutOf(end);
    this.element.classList.toggle("error", !running && end?.kind === "error");
    this.#cut.hidden = cut === "";
    this.#cut.textContent = cut;
    this.#speed.textContent = running || end === null ? "" : speedOf(end);
  }

  /** @param {boolean} busy */
  refresh(busy) {
    const { text, reasoning, end } = this.#answer;
    this.#versions.refresh(busy);
    this.#again.disabled = this.#goOn.disabled = busy;
    // Templates drop reasoning, or refuse answers with it that are to go on.
    this.#goOn.hidden = text === "" || reasoning !== "" || end?.kind === "whole" || end?.kind === "error";
    this.#actions.hidden = busy && end === null;
  }
}
