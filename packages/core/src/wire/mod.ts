export { isHotFrame, pack, unpack, writeCold } from "./cold.ts";
export * from "./messages.ts";
export { FrameReader } from "./msgpack-reader.ts";
export { FrameWriter } from "./msgpack-writer.ts";
export * from "./queries.ts";
