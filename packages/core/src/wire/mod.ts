export { type Batch, Batcher, unbatch } from "./batches.ts";
export { isHotFrame, pack, unpack, writeCold } from "./cold.ts";
export { type FailureRecord, packFailure, unpackFailure } from "./failure.ts";
export * from "./hot.ts";
export { checkLanguage, LANGUAGE, type Language } from "./language.ts";
export * from "./messages.ts";
export { FrameReader } from "./msgpack-reader.ts";
export { FrameWriter } from "./msgpack-writer.ts";
export * from "./queries.ts";
