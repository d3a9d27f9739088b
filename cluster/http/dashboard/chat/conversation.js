// What has been said, and what of it the model is sent: a question whose answer failed, or was thrown away, is no part of it.

/** A conversation. */
export class Conversation {
  #turns = [];

  /** A question, not answered yet. */
  ask(question) {
    const turn = { question, answer: null };
    this.#turns.push(turn);
    return turn;
  }

  /** The last question again, without its answer. @returns null: there is none */
  again() {
    const turn = this.#turns.at(-1) ?? null;
    if (turn !== null) turn.answer = null;
    return turn;
  }

  /** What came, if only in part; nothing at all is no answer. */
  answered(turn, answer) {
    turn.answer = answer === "" ? null : answer;
  }

  /** Forgets everything. Answers that are still on their way belong to turns that are no longer here. */
  clear() {
    this.#turns = [];
  }

  /** What the model is to be sent for a turn. @param system what it is told first; empty: nothing */
  messagesFor(turn, system) {
    const before = this.#turns.slice(0, this.#turns.indexOf(turn)).filter(({ answer }) => answer !== null);
    return [
      ...system === "" ? [] : [{ role: "system", content: system }],
      ...before.flatMap(({ question, answer }) => [{ role: "user", content: question }, { role: "assistant", content: answer }]),
      { role: "user", content: turn.question },
    ];
  }
}
