/**
 * What an answer must look like.
 *
 * @module
 */

/** Stands for a call's number in {@link CallGrammar}: any, as conversations count on and only the model sees from where. */
export const CALL_NUMBER = "\0";

/** Stands for nine letters and digits of a model's own choice in {@link CallGrammar}. */
export const CALL_NAME = "\x01";

/** Arguments that are written one by one instead of as one object of JSON. */
export interface KeyedForm {
  /** Around a name. */
  readonly key: readonly [begin: string, end: string];
  /** Between a name and its value. */
  readonly between: string;
  /** Around a value. */
  readonly value: readonly [begin: string, end: string];
  /** After each value. */
  readonly after: string;
  /** Between two arguments. */
  readonly separator: string;
  /** How values that are strings are written: as they are, or as JSON. */
  readonly texts: "bare" | "json";
}

/** One tool's calls. */
export interface CallGrammar {
  readonly tool: string;
  /** What comes before its arguments; {@link CALL_NUMBER} stands for the number of the call, {@link CALL_NAME} for a name of it. */
  readonly begin: string;
  /** JSON Schema of its arguments. */
  readonly schema: unknown;
  /** No properties that the schema does not name. */
  readonly strict: boolean;
  /** How they are written; undefined: as an object of JSON. */
  readonly keyed?: KeyedForm;
  /** What comes after them. */
  readonly end: string;
}

/** One call, or several in a series. */
export interface CallsGrammar {
  readonly kind: "calls";
  readonly open: string;
  readonly calls: readonly CallGrammar[];
  /** Between two calls; null: there is only one. */
  readonly separator: string | null;
  readonly close: string;
}

/** JSON that fits a schema. @see strict: no properties that the schema does not name */
export interface FormGrammar {
  readonly kind: "json";
  readonly schema: unknown;
  readonly strict: boolean;
}

/** What an answer must look like. */
export type AnswerGrammar =
  | FormGrammar
  | CallsGrammar
  /** Any text; where `marker` begins calls, they follow and end it. */
  | { readonly kind: "text"; readonly marker: string; readonly calls: CallsGrammar }
  /** JSON, or calls instead of it. */
  | { readonly kind: "either"; readonly form: FormGrammar; readonly calls: CallsGrammar }
  /** Any text up to `marker`, then what has a form. */
  | { readonly kind: "reasoned"; readonly marker: string; readonly then: AnswerGrammar };
