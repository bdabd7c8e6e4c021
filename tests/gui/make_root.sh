#!/bin/sh
# make_root.sh FOLDER: builds FOLDER/root, a small Debian with a real Blender and a virtual screen.
# Where that can't be (no root, no Debian mirror), FOLDER/why_not says why, and the tests are skipped with that line.
set -eu
folder=$1
mkdir -p "$folder"
rm -rf "$folder/root.part" "$folder/why_not"

give_up() {
  echo "$1" | tee "$folder/why_not"
  exit 0
}

[ "$(id -u)" = 0 ] || give_up "The window tests need root: they run Blender in a Debian of its own."
unshare --mount true 2>/dev/null || give_up "The window tests need mount namespaces, which this machine does not allow."
command -v apt-get >/dev/null || give_up "The window tests need a Debian machine: there is no apt-get here."
# The mirror that this machine uses itself; known only after an update.
find_mirror() {
  apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' "Codename: $(. /etc/os-release && echo "$VERSION_CODENAME")" |
    head -n 1
}
mirror=$(find_mirror)
if [ -z "$mirror" ] || ! command -v mmdebstrap >/dev/null; then
  apt-get update -qq || give_up "The window tests need a Debian mirror: apt-get update reaches none."
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mmdebstrap debian-archive-keyring >/dev/null
  mirror=$(find_mirror)
fi
[ -n "$mirror" ] || give_up "The window tests need a Debian mirror: none is among this machine's package sources."

echo "Building a Debian with Blender in $folder/root (1.3 GB, some minutes) ..."
packages=ca-certificates,blender,python3-numpy,python3-requests,python3-zstandard
packages=$packages,xvfb,xauth,xdotool,imagemagick,python3-xlib,libgl1,libgl1-mesa-dri,libegl1
# In a mount namespace, so that nothing stays mounted where it is interrupted.
if ! unshare --mount --propagation private mmdebstrap --quiet --variant=apt --aptopt='APT::Install-Recommends "false"' --include="$packages" \
  trixie "$folder/root.part" "$mirror" 2>"$folder/mmdebstrap.log"; then
  rm -rf "$folder/root.part"
  if grep -qiE 'failed to fetch|could not (resolve|connect)|unable to connect' "$folder/mmdebstrap.log"; then
    give_up "The window tests need a Debian mirror that has trixie: see $folder/mmdebstrap.log."
  fi
  cat "$folder/mmdebstrap.log" >&2
  exit 1
fi
mv "$folder/root.part" "$folder/root"
