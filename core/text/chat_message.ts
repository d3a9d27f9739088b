/**
 * Messages of conversations.
 *
 * @module
 */

/** One message of a conversation. */
export interface ChatMessage {
  /** Who speaks. */
  readonly role: string;
  /** What is said; null beside calls of tools. */
  readonly content: string | null;
  /** Whatever else a template reads, such as `name`. */
  readonly [key: string]: unknown;
}
