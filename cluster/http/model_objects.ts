/**
 * Models as `/v1/models` has them, in OpenAI's form and in Anthropic's.
 *
 * @module
 */

/** What there is to say of a model. */
export interface ListedAs {
  readonly id: string;
  /** Unix time in seconds. */
  readonly created: number;
  /** Tokens; null: known when it is loaded. */
  readonly maxContext: number | null;
  /** What it is at, as llama.cpp's router has it; undefined: it is loaded. */
  readonly status?: object;
}

/** A model in the form of the API that asks. */
export function modelObject({ id, created, maxContext, status }: ListedAs, anthropic: boolean): object {
  if (!anthropic) {
    const most = maxContext === null ? {} : { max_model_len: maxContext };
    return { id, object: "model", created, owned_by: "latentmesh", ...most, ...(status === undefined ? {} : { status }) };
  }
  // It knows of no states.
  const most = maxContext === null ? {} : { max_input_tokens: maxContext, max_tokens: maxContext };
  return { type: "model", id, display_name: id, created_at: new Date(created * 1000).toISOString(), ...most };
}

/** All of `/v1/models`. */
export function modelList(models: readonly ListedAs[], anthropic: boolean): object {
  const data = models.map((model) => modelObject(model, anthropic));
  if (!anthropic) return { object: "list", data };
  return { data, has_more: false, first_id: models[0]?.id ?? null, last_id: models.at(-1)?.id ?? null };
}
