export { decode, encode, inspectSerializability } from "./codec.ts";
export {
  type Begun,
  type Customizer,
  type CustomNode,
  combineCustomizers,
  type EncodeSession,
  type Problem,
  problemOf,
  refusal,
} from "./custom.ts";
export type { DecodeContext } from "./decoder.ts";
export type { EncodeContext } from "./encoder.ts";
export { decodeError, encodeError } from "./error-values.ts";
export type { ByteSource } from "./input.ts";
export type { CopyInto, Packed } from "./packed.ts";
export { type AnyClass, type Serializer, SerializerRegistry } from "./serializers.ts";
