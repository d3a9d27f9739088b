/**
 * What every endpoint needs of the server.
 *
 * @module
 */
import type { ServedModel, TokenRequest } from "../../core/engine.ts";
import type { Grammars } from "../grammar/grammars.ts";
import type { GrammarConstraint } from "../grammar/running_grammar.ts";
import type { WrittenGrammar } from "../grammar/written_grammar.ts";
import type { TextService } from "../text/text_work.ts";
import type { BodyLimits } from "./body.ts";
import type { KeptItems } from "./kept_items.ts";
import type { AnswerNames, RelayNotes, Resumption } from "./relay/relayed_request.ts";

/** The server as endpoints see it. */
export interface ServerContext {
  readonly model: ServedModel;
  readonly grammars: Grammars;
  /** Turns requests into tokens. */
  readonly text: TextService;
  readonly bodies: BodyLimits;
  /** Items of responses, for those who refer to them. */
  readonly items: KeptItems;
  /** Aborted when running generations must end. */
  readonly shutdown: AbortSignal;
}

/** Variables of a request in the app. */
export interface AppEnv {
  Bindings: {
    /** What another cell has answered so far to a request that goes on here. */
    resumption?: Resumption;
  };
  Variables: {
    /** Whose request it is; empty where there are no keys. */
    client: string;
    /** Names it in logs and headers. */
    requestId: string;
    /** Names of what is answered. */
    names: AnswerNames;
    /** Whether a front asks. */
    isFront?: boolean;
    /** Notes for a front that may have the request go on elsewhere. */
    relay?: RelayNotes;
  };
}

/** Requests whose grammars are given back when they have ended. */
export class ConstrainedRequests implements Disposable {
  readonly requests: readonly TokenRequest[];
  readonly #constraints: readonly GrammarConstraint[];

  private constructor(requests: readonly TokenRequest[], constraints: readonly GrammarConstraint[]) {
    this.requests = requests;
    this.#constraints = constraints;
  }

  /** Gives every request a grammar of its own; of `null`, none. @throws {LatentmeshError} `invalid_request` if it cannot be used, `cancelled` */
  static async create(
    { grammars, model }: ServerContext,
    requests: readonly TokenRequest[],
    grammar: WrittenGrammar | null,
  ): Promise<ConstrainedRequests> {
    if (grammar === null) return new ConstrainedRequests(requests, []);
    const { client = "", signal } = requests[0];
    const constraints = await grammars.constrain(grammar, { count: requests.length, client, signal });
    // Where the grammar ends, nothing but the end may come: it is not optional.
    const stopTokens = new Set([...model.eosTokens, ...requests[0].stopTokens]);
    return new ConstrainedRequests(requests.map((request, i) => ({ ...request, constraint: constraints[i], stopTokens })), constraints);
  }

  [Symbol.dispose](): void {
    for (const constraint of this.#constraints) constraint[Symbol.dispose]();
  }
}
