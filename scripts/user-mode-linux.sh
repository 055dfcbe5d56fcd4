#!/usr/bin/env bash
# Puts a Linux kernel that runs as a process (Debian's package user-mode-linux, unpacked and not installed) into
# .cache/user-mode-linux, with the modules that tests load there and the program that loads them. Tests boot it for what the kernel of
# this machine may lack: cgroups of version 2 with all controllers, networks that delay, lose, reorder and repeat.
set -euo pipefail
cd "$(dirname "$0")/.."
out=.cache/user-mode-linux
# In the order in which they are loaded.
modules="lib/crc-ccitt net/ipv6/ipv6 net/llc/llc net/802/stp net/bridge/bridge drivers/net/veth net/sched/sch_netem"
wanted=$(echo "$modules" | sha256sum | cut -d ' ' -f 1)
if [ "$(cat "$out/installed" 2>/dev/null)" = "$wanted" ]; then exit 0; fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
fetch() { (cd "$folder" && apt-get download -qq user-mode-linux kmod); }
fetch || { apt-get update -qq && fetch; }
for package in "$folder"/*.deb; do dpkg-deb -x "$package" "$folder"; done
rm -rf "$out"
mkdir -p "$out"
mv "$folder/usr/bin/linux.uml" "$out/linux.uml"
mv "$folder/bin/kmod" "$out/insmod"
number=0
for module in $modules; do
  number=$((number + 1))
  # Of the one version that there is.
  mv "$folder"/usr/lib/uml/modules/*/kernel/$module.ko "$out/$number-$(basename "$module").ko"
done
echo "$wanted" >"$out/installed"
