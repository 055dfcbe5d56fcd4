/** Which actors a person means by a name or a class: those that live, or, when none does, those that did. */
export function actorsCalled<
  A extends { readonly name: string | null; readonly className: string; readonly state: string },
>(actors: Iterable<A>, called: string): readonly A[] {
  const found = [...actors].filter(({ name, className }) => name === called || className === called);
  const living = found.filter(({ state }) => state !== "dead");
  return living.length > 0 ? living : found;
}
