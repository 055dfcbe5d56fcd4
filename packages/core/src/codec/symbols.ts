/** Symbols of the language (`Symbol.iterator` and the like), which are the same in every process. */
const byName = new Map<string, symbol>();
const bySymbol = new Map<symbol, string>();
for (const name of Object.getOwnPropertyNames(Symbol)) {
  const value: unknown = Object.getOwnPropertyDescriptor(Symbol, name)?.value;
  if (typeof value === "symbol") {
    byName.set(name, value);
    bySymbol.set(value, name);
  }
}

export const WELL_KNOWN_SYMBOLS = {
  nameOf: (symbol: symbol): string | undefined => bySymbol.get(symbol),
  named: (name: string): symbol | undefined => byName.get(name),
};
