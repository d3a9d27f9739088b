/**
 * JSON schemas that chance writes: every keyword, alone and beside others, so that most can be fitted.
 *
 * @module
 */
import fc from "npm:fast-check@4.10.2";

type Schema = boolean | object;

const name = fc.oneof(
  fc.constantFrom("a", "b", "kind", "name", "x y", 'q"uote', "back\\slash", "sl/ash", "ti~lde", "é", "日", "$ref", "type", "a\nb"),
  fc.stringMatching(/^[a-z_]{1,5}$/),
);
const scalar = fc.oneof(
  fc.string({ unit: "binary", maxLength: 6 }),
  fc.string({ maxLength: 8 }),
  fc.integer({ min: -200, max: 200 }),
  fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e6, max: 1e6 }),
  fc.boolean(),
  fc.constant(null),
);
const value = fc.oneof(
  { weight: 4, arbitrary: scalar },
  fc.array(scalar, { maxLength: 3 }),
  fc.dictionary(name, scalar, { maxKeys: 3, noNullPrototype: true }),
);

/** Patterns that validators agree on. */
export const PATTERNS = [
  "^a.b$",
  "a|b",
  "^ab|cd$",
  "^(?:foo|ba+r)?$",
  "[^x]{2}",
  "^[^x]{1,3}$",
  "^[ -~]{1,4}$",
  "^(\\D|\\S){1,3}$",
  "^\\p{Lu}\\p{Ll}*$",
  "^[äöüß]+$",
  "^[^\\u0000-\\u007f]+$",
  '^"[a-z]*\\\\$',
  "\\d{3}",
  "^\\w+@\\w+\\.com$",
  "^(?!abc)[a-c]{3}$",
  "^(?=.*\\d)[a-z\\d]{2,6}$",
  "^(?:(?!ab)[abc])*$",
  "^[\\s\\S]{0,3}$",
  "^$",
  "^\\u{1F600}?x",
  "^(a{1,3}b){2,}$",
  "[a-z]$",
];

const bound = fc.oneof(fc.integer({ min: -120, max: 120 }), fc.constantFrom(0, 0.5, -0.5, 0.1, -1.25, 99.99, 1e-3, 1000000, -1e6, 12345.678));
const optional = { requiredKeys: [] as never[] };

const numbers = fc.record({
  type: fc.constantFrom("number", "integer"),
  bounds: fc.tuple(bound, fc.nat(150), fc.boolean(), fc.boolean(), fc.boolean(), fc.boolean()),
  multipleOf: fc.option(fc.integer({ min: 1, max: 24 }), { freq: 3, nil: undefined }),
}).map(({ type, bounds: [low, span, hasLow, hasHigh, open, closed], multipleOf }) => ({
  type,
  ...(hasLow ? { [open ? "exclusiveMinimum" : "minimum"]: low } : {}),
  ...(hasHigh ? { [closed ? "maximum" : "exclusiveMaximum"]: low + span } : {}),
  ...(multipleOf === undefined ? {} : { multipleOf }),
}));

const FORMATS = [
  ...["date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri", "url"],
  ...["uri-reference", "json-pointer", "relative-json-pointer", "byte", "password"],
];

const strings = fc.oneof(
  fc.record({ type: fc.constant("string"), minLength: fc.nat(4), pattern: fc.constantFrom(...PATTERNS) }, { requiredKeys: ["type"] }),
  // Of some, no text is left, here or where they meet.
  fc.record({ type: fc.constant("string"), minLength: fc.nat(5), maxLength: fc.nat(5) }, { requiredKeys: ["type"] }),
  fc.record({ type: fc.constant("string"), maxLength: fc.integer({ min: 2, max: 9 }), pattern: fc.constantFrom(...PATTERNS) }, {
    requiredKeys: ["type"],
  }),
  fc.constantFrom(...FORMATS).map((format) => ({ type: "string", format })),
);

const leaf: fc.Arbitrary<Schema> = fc.oneof(
  numbers,
  strings,
  fc.constantFrom({ type: "boolean" }, { type: "null" }, true, {}, { type: ["string", "null"] }, {
    type: ["integer", "string"],
    minimum: 3,
    maxLength: 2,
  }),
  fc.constantFrom({ type: "integer", format: "int32" }, { type: "number", format: "int64" }, { minLength: 2 }, { minimum: 5 }, { required: ["a"] }),
  fc.uniqueArray(value, { minLength: 1, maxLength: 4, selector: (one: unknown) => JSON.stringify(one) }).map((values) => ({ enum: values })),
  value.map((one) => ({ const: one })),
  fc.tuple(fc.uniqueArray(value, { minLength: 2, maxLength: 5, selector: (one: unknown) => JSON.stringify(one) }), leafRules()).map((
    [values, rules],
  ) => ({
    enum: values,
    ...rules,
  })),
);

function leafRules() {
  return fc.record({ type: fc.constantFrom("string", "number", "integer", "object"), minimum: fc.constant(0), maxLength: fc.constant(3) }, optional);
}

/**
 * Objects that are closed but for what parts of them speak of, of which only those count that fit. Not with `dependentSchemas`: ajv then forgets what it has
 * counted before.
 */
const part = fc.record({
  properties: fc.dictionary(fc.constantFrom("a", "b", "kind"), leaf, { maxKeys: 2, noNullPrototype: true }),
  required: fc.subarray(["a", "b", "kind"], { minLength: 1, maxLength: 2 }),
  patternProperties: leaf.map((schema) => ({ "^x": schema })),
}, optional);
const unless = part.map((not) => ({ not }));
const applied = {
  oneOf: fc.array(part, { minLength: 2, maxLength: 2 }),
  anyOf: fc.array(part, { minLength: 1, maxLength: 2 }),
  allOf: fc.array(fc.oneof(part, unless), { minLength: 1, maxLength: 2 }),
  not: fc.oneof(part, unless),
  if: part,
  then: fc.oneof(part, fc.constant({})),
  else: part,
};
const closed = fc.tuple(
  fc.record(applied),
  // A few at a time, so that most can be fitted.
  fc.subarray(Object.keys(applied) as (keyof typeof applied)[], { minLength: 1, maxLength: 3 }),
  fc.dictionary(fc.constantFrom("c", "kind"), leaf, { maxKeys: 1, noNullPrototype: true }),
  fc.constantFrom(false, false, { type: "integer" }),
).map(([all, kept, properties, unevaluatedProperties]) => ({
  type: "object",
  properties,
  ...Object.fromEntries(kept.map((keyword) => [keyword, all[keyword]])),
  unevaluatedProperties,
}));

/** Schemas of every kind. */
const { schema: plain } = fc.letrec<{ schema: Schema; object: object; array: object }>((tie) => {
  const properties = fc.dictionary(name, tie("schema"), { maxKeys: 4, noNullPrototype: true });
  const some = (names: readonly string[], bits: number) => names.filter((_, i) => ((bits >> i) & 1) === 1);
  return {
    object: fc.record({
      type: fc.constant("object"),
      properties,
      required: fc.nat(15),
      other: fc.constantFrom([], ["zz"]),
      additionalProperties: fc.oneof(fc.boolean(), tie("schema")),
      patternProperties: fc.dictionary(fc.constantFrom("^x", "y$", "[0-9]", "^[a-c]+$"), tie("schema"), { maxKeys: 2, noNullPrototype: true }),
      propertyNames: fc.constantFrom({ maxLength: 4 }, { pattern: "^[a-z]+$" }, { enum: ["a", "b", "zz"] }),
      minProperties: fc.nat(2),
      maxProperties: fc.integer({ min: 1, max: 4 }),
      dependentRequired: fc.constantFrom({ a: ["b"] }, { kind: ["name", "a"] }),
      unevaluatedProperties: fc.constant(false),
    }, { requiredKeys: ["type"] }).map(({ required, other, ...rest }) => ({
      ...rest,
      ...(required === undefined ? {} : { required: [...some(Object.keys(rest.properties ?? {}), required), ...other ?? []] }),
    })),
    array: fc.oneof(
      fc.record({
        type: fc.constant("array"),
        items: tie("schema"),
        prefixItems: fc.array(tie("schema"), { minLength: 1, maxLength: 2 }),
        minItems: fc.nat(2),
        maxItems: fc.integer({ min: 2, max: 4 }),
        contains: tie("schema"),
        minContains: fc.nat(2),
      }, { requiredKeys: ["type"] }),
      fc.tuple(fc.uniqueArray(fc.integer({ min: 0, max: 99 }), { minLength: 1, maxLength: 5 }), fc.nat(2)).map(([values, minItems]) => ({
        type: "array",
        items: { enum: values },
        uniqueItems: true,
        minItems,
      })),
    ),
    schema: fc.oneof(
      { depthSize: "small", maxDepth: 3 },
      leaf,
      tie("object"),
      tie("array"),
      closed,
      fc.array(tie("schema"), { minLength: 1, maxLength: 3 }).map((anyOf) => ({ anyOf })),
      fc.array(tie("schema"), { minLength: 1, maxLength: 3 }).map((oneOf) => ({ oneOf })),
      fc.array(tie("object"), { minLength: 2, maxLength: 2 }).map((allOf) => ({ allOf })),
      fc.tuple(tie("object"), tie("object")).map(([base, more]) => ({ ...base, anyOf: [more, { required: ["kind"] }] })),
      fc.tuple(tie("object"), leaf).map(([base, condition]) => ({
        ...base,
        if: { properties: { a: condition } },
        then: { required: ["a"] },
        else: { maxProperties: 3 },
      })),
      fc.tuple(leaf, leaf).map(([base, other]) => (typeof base === "object" ? { ...base, not: other } : { not: other })),
    ),
  };
});

/** Whole documents, some of whose parts are referred to. */
export const schema: fc.Arbitrary<Schema> = fc.oneof(
  { weight: 3, arbitrary: plain },
  { weight: 2, arbitrary: closed },
  plain.map((target) => ({
    $defs: { "a/b~c d": target, self: { type: "object", properties: { next: { $ref: "#/$defs/self" }, value: { $ref: "#/$defs/a~1b~0c%20d" } } } },
    anyOf: [{ $ref: "#/$defs/a~1b~0c%20d" }, { $ref: "#/$defs/self" }],
  })),
  fc.tuple(plain, plain).map(([target, beside]) => ({
    $defs: { target: { $anchor: "there", ...Object(target) } },
    allOf: [{ $ref: "#there" }],
    anyOf: [beside, {}],
  })),
);
