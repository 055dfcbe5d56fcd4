/**
 * Serializers that the program registered for its classes: what turns an instance into data and back where its state
 * cannot be seen from outside (private fields, handles to files or connections).
 */
import { InvalidOptionError } from "../base/errors.ts";

// biome-ignore lint/complexity/noBannedTypes: a class of the user's, whatever its constructor takes
export type AnyClass = Function & { readonly prototype: object };

export interface Serializer<T = unknown, D = unknown> {
  /** Returns what stands for the instance; anything the codec can ship. */
  readonly serialize: (instance: T) => D;
  /** Makes the instance again, in whichever process. It is shipped with the data, so it must be a shippable function. */
  readonly deserialize: (data: D) => T;
}

/** The serializers known to one process. */
export class SerializerRegistry {
  private readonly entries = new Map<AnyClass, Serializer>();
  private count = 0;

  /** Grows with each registration, so that whoever ships registrations elsewhere can tell when there are new ones. */
  get version(): number {
    return this.count;
  }

  /** A later registration for the same class replaces the earlier one. It holds for exactly this class, not for classes derived from it. */
  register(type: AnyClass, serializer: Serializer): void {
    if (typeof type !== "function" || typeof type.prototype !== "object" || type.prototype === null) {
      throw new InvalidOptionError("registerSerializer: the first argument must be a class");
    }
    if (typeof serializer?.serialize !== "function" || typeof serializer.deserialize !== "function") {
      throw new InvalidOptionError(
        `registerSerializer(${type.name}): the second argument must be { serialize, deserialize }, both functions`,
      );
    }
    this.entries.set(type, { serialize: serializer.serialize, deserialize: serializer.deserialize });
    this.count++;
  }

  get size(): number {
    return this.entries.size;
  }

  find(type: AnyClass): Serializer | undefined {
    return this.entries.get(type);
  }

  list(): readonly (readonly [AnyClass, Serializer])[] {
    return [...this.entries];
  }
}
