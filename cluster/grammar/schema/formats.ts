/**
 * Formats of strings as patterns. Where a standard leaves room, these are narrower: what comes out fits every reading of it.
 *
 * @module
 */
import type { NumberRules } from "../text/numbers.ts";

const DATE = String
  .raw`(?:\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8]))|(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)`;
const TIME = String.raw`(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)`;
const LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?";
/** As in addresses of mail and the web, where nothing bounds a label's length. */
const NAME = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?";
const HOST = `${NAME}(?:\\.${NAME})*`;
const LOCAL = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+";
const OCTET = String.raw`(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)`;
const IPV4 = String.raw`${OCTET}(?:\.${OCTET}){3}`;
const GROUP = "[0-9A-Fa-f]{1,4}";
const IPV6 = [
  `(?:${GROUP}:){7}${GROUP}`,
  ...[1, 2, 3, 4, 5, 6].map((before) => `(?:${GROUP}:){${before}}(?::${GROUP}){1,${7 - before}}`),
  `:(?::${GROUP}){1,7}`,
  `(?:${GROUP}:){1,7}:`,
  "::",
].join("|");
const PATH_CHARACTER = String.raw`(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})`;
const AFTER_PATH = String.raw`(?:\?(?:${PATH_CHARACTER}|[/?])*)?(?:#(?:${PATH_CHARACTER}|[/?])*)?`;
const AUTHORITY = String.raw`(?:[A-Za-z0-9._~-]+@)?(?:${HOST}|${IPV4})(?::\d{1,5})?`;
const URI = String
  .raw`[A-Za-z][A-Za-z0-9+.-]*:(?://${AUTHORITY}(?:/${PATH_CHARACTER}*)*|/?${PATH_CHARACTER}+(?:/${PATH_CHARACTER}*)*)${AFTER_PATH}`;
const SEGMENT = String.raw`(?:[A-Za-z0-9._~!$&'()*+,;=@-]|%[0-9A-Fa-f]{2})`;
const POINTER = "(?:/(?:[^~/]|~0|~1)*)*";
const HEX8 = "[0-9A-Fa-f]";

/** Patterns by format; an empty one allows anything. */
const TEXT_FORMATS: Readonly<Record<string, string>> = {
  date: DATE,
  time: TIME,
  "date-time": `${DATE}T${TIME}`,
  duration: String.raw`P(?:\d{1,9}W|(?=[\dT])(?:\d{1,9}Y)?(?:\d{1,9}M)?(?:\d{1,9}D)?(?:T(?=\d)(?:\d{1,9}H)?(?:\d{1,9}M)?(?:\d{1,9}S)?)?)`,
  email: `${LOCAL}(?:\\.${LOCAL})*@(?:${NAME}\\.)+${NAME}`,
  hostname: `${LABEL}(?:\\.${LABEL}){0,2}`,
  ipv4: IPV4,
  ipv6: IPV6,
  uuid: `${HEX8}{8}(?:-${HEX8}{4}){3}-${HEX8}{12}`,
  uri: URI,
  iri: URI,
  url: String.raw`https?://(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,20}(?::\d{2,5})?(?:/${PATH_CHARACTER}*)*`,
  "uri-reference": `(?:${URI}|/?${SEGMENT}+(?:/${PATH_CHARACTER}*)*${AFTER_PATH})`,
  "iri-reference": `(?:${URI}|/?${SEGMENT}+(?:/${PATH_CHARACTER}*)*${AFTER_PATH})`,
  "json-pointer": POINTER,
  "relative-json-pointer": `(?:0|[1-9]\\d{0,8})(?:#|${POINTER})`,
  byte: "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?",
  binary: "",
  password: "",
};

/** Rules by format of numbers, as OpenAPI names them. */
const NUMBER_FORMATS: Readonly<Record<string, Partial<NumberRules>>> = {
  int32: { integer: true, min: { value: -(2 ** 31), exclusive: false }, max: { value: 2 ** 31 - 1, exclusive: false } },
  // The last doubles within.
  int64: { integer: true, min: { value: -(2 ** 63 - 1024), exclusive: false }, max: { value: 2 ** 63 - 1024, exclusive: false } },
  float: {},
  double: {},
};

/** What a format asks of a string, as a pattern; undefined if it is not known. */
export function textFormat(name: string): string | undefined {
  if (!Object.hasOwn(TEXT_FORMATS, name)) return undefined;
  return TEXT_FORMATS[name] === "" ? "" : `^(?:${TEXT_FORMATS[name]})$`;
}

/** What a format asks of a number; undefined if it is not known. */
export function numberFormat(name: string): Partial<NumberRules> | undefined {
  return Object.hasOwn(NUMBER_FORMATS, name) ? NUMBER_FORMATS[name] : undefined;
}
