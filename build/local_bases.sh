#!/bin/sh
# Make the two base images of Dockerfile.distroless from Debian's packages, under the names that
# the Dockerfile uses. This is for machines that reach a Debian mirror but not an image registry.
# Needs root, buildah and debootstrap. The images are stand-ins: built from the same packages as
# the real ones, not equal to them.
set -eu
cd "$(dirname "$0")/.."
work=.work/bases
store=${STORAGE_DRIVER:-overlay}
builder=$(sed -n 's/^ARG BUILDER=//p' Dockerfile.distroless)
runtime=$(sed -n 's/^ARG RUNTIME=//p' Dockerfile.distroless)
suite=trixie

have() { buildah --storage-driver "$store" inspect --type image "$1" >/dev/null 2>&1; }

# Commit a root file system as an image. It is added as an archive, because adding a folder resets
# its owners.
commit() { # name folder
  tar -C "$2" --numeric-owner -cf "$work/root.tar" .
  container=$(buildah --storage-driver "$store" from scratch)
  buildah --storage-driver "$store" add -q "$container" "$work/root.tar" / >/dev/null
  [ "$1" = "$builder" ] || buildah --storage-driver "$store" config --user 65532 --workingdir /home/nonroot \
    --env SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt "$container"
  buildah --storage-driver "$store" commit -q --rm "$container" "$1" >/dev/null
  rm "$work/root.tar"
}

if have "$builder" && have "$runtime"; then exit 0; fi
mkdir -p "$work"

if [ ! -e "$work/builder/.done" ]; then
  rm -rf "$work/builder"
  debootstrap --variant=minbase "$suite" "$work/builder" >"$work/debootstrap.log" 2>&1 ||
    { tail -20 "$work/debootstrap.log" >&2; exit 1; }
  # The certificate authorities that this machine trusts, for example that of a proxy.
  mkdir -p "$work/builder/usr/local/share/ca-certificates"
  cp /etc/ssl/certs/ca-certificates.crt "$work/builder/usr/local/share/ca-certificates/host.crt"
  cp /etc/resolv.conf "$work/builder/etc/resolv.conf" 2>/dev/null || true
  touch "$work/builder/.done"
fi
have "$builder" || commit "$builder" "$work/builder"

rm -rf "$work/runtime" "$work/debs"
mkdir -p "$work/runtime" "$work/debs"
chroot "$work/builder" sh -c 'apt-get update -qq && cd /tmp && apt-get download -qq base-files netbase tzdata ca-certificates libc6'
mv "$work"/builder/tmp/*.deb "$work/debs/"
for package in "$work"/debs/*.deb; do dpkg-deb -x "$package" "$work/runtime"; done
find "$work/runtime/usr/share/ca-certificates" -name '*.crt' -exec cat {} + >"$work/bundle"
mkdir -p "$work/runtime/etc/ssl/certs" "$work/runtime/home/nonroot" "$work/runtime/tmp"
mv "$work/bundle" "$work/runtime/etc/ssl/certs/ca-certificates.crt"
chmod 1777 "$work/runtime/tmp"
chown 65532:65532 "$work/runtime/home/nonroot"
printf 'root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n' >"$work/runtime/etc/passwd"
printf 'hosts: files dns\n' >"$work/runtime/etc/nsswitch.conf"
printf 'root:x:0:\nnonroot:x:65532:\n' >"$work/runtime/etc/group"
rm -rf "$work/runtime/usr/share/doc" "$work/runtime/usr/share/man" "$work/runtime/usr/sbin" "$work/runtime/usr/bin"
commit "$runtime" "$work/runtime"
