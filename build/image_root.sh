#!/bin/sh
# Unpack the image that build/image.sh made to dist/image, for the tests that run it.
set -eu
cd "$(dirname "$0")/.."
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
image=${IMAGE:-aks-audit-log:$version}
rm -rf dist/image && mkdir -p dist/image
if command -v buildah >/dev/null && buildah --storage-driver "${STORAGE_DRIVER:-overlay}" inspect --type image "$image" >/dev/null 2>&1; then
  container=$(buildah --storage-driver "${STORAGE_DRIVER:-overlay}" from --pull=never "$image")
  mounted=$(buildah --storage-driver "${STORAGE_DRIVER:-overlay}" mount "$container")
  tar -C "$mounted" -cf - . | tar -C dist/image -xf -
  buildah --storage-driver "${STORAGE_DRIVER:-overlay}" rm "$container" >/dev/null
else
  for tool in podman docker; do
    command -v $tool >/dev/null && $tool image inspect "$image" >/dev/null 2>&1 || continue
    container=$($tool create "$image")
    $tool export "$container" | tar -C dist/image -xf -
    $tool rm "$container" >/dev/null
    break
  done
fi
test -f dist/image/aks-audit-log
mkdir -p dist/image/proc
# What a container runtime adds when it starts a container.
printf '127.0.0.1 localhost\n' >dist/image/etc/hosts
[ -e dist/image/etc/nsswitch.conf ] || printf 'hosts: files dns\n' >dist/image/etc/nsswitch.conf
