#!/bin/sh
# enter.sh ROOT FOLDER... -- COMMAND...: runs COMMAND in the Debian root ROOT, with FOLDERs seen there at their own paths.
# The mounts are this process's own and end with it. Needs root.
set -eu
if [ "${HEAD_CAPTURE_INSIDE:-}" = "" ]; then
  HEAD_CAPTURE_INSIDE=yes exec unshare --mount --propagation private sh "$0" "$@"
fi
root=$1
shift
for place in /dev /sys; do
  mount --rbind "$place" "$root$place"
done
mount -t proc proc "$root/proc"
while [ "$1" != -- ]; do
  mkdir -p "$root$1"
  mount --bind "$1" "$root$1"
  shift
done
shift
exec chroot "$root" "$@"
