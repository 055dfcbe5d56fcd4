#!/usr/bin/env bash
# Puts a Linux kernel that runs as a process (Debian's package user-mode-linux, unpacked and not installed) into
# .cache/user-mode-linux. Tests boot it for what the kernel of this machine does not offer: cgroups of version 2 with all controllers.
set -euo pipefail
cd "$(dirname "$0")/.."
out=.cache/user-mode-linux
if [ -x "$out/linux.uml" ]; then exit 0; fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
fetch() { (cd "$folder" && apt-get download -qq user-mode-linux); }
fetch || { apt-get update -qq && fetch; }
dpkg-deb --fsys-tarfile "$folder"/user-mode-linux_*.deb | tar -x -C "$folder" ./usr/bin/linux.uml
mkdir -p "$out"
mv "$folder/usr/bin/linux.uml" "$out/linux.uml"
