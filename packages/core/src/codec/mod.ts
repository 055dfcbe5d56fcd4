export { decode, encode, inspectSerializability } from "./codec.ts";
export {
  type Customizer,
  combineCustomizers,
  type Problem,
  problemOf,
} from "./custom.ts";
export { shippableError } from "./error-values.ts";
export type { ByteSource } from "./input.ts";
export { type ByteTarget, headOfBytes, type Packed } from "./packed.ts";
export { type AnyClass, type Serializer, SerializerRegistry } from "./serializers.ts";
