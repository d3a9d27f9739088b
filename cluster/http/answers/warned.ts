/**
 * Answers to requests that were taken without a part of them.
 *
 * @module
 */

/** The same response, with a `Warning` header that says what was left out; null: nothing was. */
export function warned(response: Response, warning: string | null): Response {
  // 299: any warning that lasts (RFC 7234, section 5.5.7).
  if (warning !== null) response.headers.set("warning", `299 latentmesh "${warning}"`);
  return response;
}
